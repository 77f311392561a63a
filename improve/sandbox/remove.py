"""Delete a folder that generated code has written to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def remove(folder: Path) -> None:
    """Delete it and all below it, closed folders too. Links are deleted, never followed. Nothing there is fine.

    The system's tools do it: they walk trees that are nested deeper than Python's own functions can follow.
    Raises `OSError` if something cannot be deleted.
    """
    if _rm(folder) and os.path.lexists(folder):
        subprocess.run(["chmod", "-R", "u+rwX", "--", folder], capture_output=True, check=False)
        if trouble := _rm(folder):
            raise OSError(f"{folder} cannot be deleted: {trouble}")


def _rm(folder: Path) -> str:
    """Why it failed; empty if it worked."""
    done = subprocess.run(["rm", "-rf", "--", folder], capture_output=True, text=True, errors="replace", check=False)
    return done.stderr.strip() or "rm failed" if done.returncode else ""
