"""A full disk, told in a sentence: what is done is kept, and the same command goes on once there is room."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from improve.errors import DiskFull

LITTLE = 1 << 20  # bytes: with less, a disk counts as full where an error says no more


def full_disk(error: OSError, folders: Iterable[Path] = ()) -> DiskFull | None:
    """The error for people if `error` comes from a full disk, else None. `folders`: those that may lie on it."""
    crowded = [folder for folder in folders if _free(folder) < LITTLE]
    # numpy writes arrays itself, and gives no number: "36864 requested and 8192 written"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) and not (error.errno is None and crowded):
        return None
    named = [Path(os.fsdecode(error.filename)).parent] if isinstance(error.filename, (str, bytes)) else []
    places = ", ".join(str(folder) for folder in (crowded or named)[:1])
    where = f" that holds {places}" if places else ""
    return DiskFull(
        f"The disk{where} is full. What is done is kept.",
        "free some space on it and run the same command again: it goes on where it stopped",
    )


def _free(folder: Path) -> int:
    """Bytes that can be written there; plenty where nobody knows."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    return shutil.disk_usage(there).free if there else LITTLE
