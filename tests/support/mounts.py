"""A folder that is mounted a second time by bindfs, where some things are as on NFS.

Locks of one mount are not seen by another, and a file that is removed while it is open keeps its place in its folder,
under a hidden name, until it is closed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_bindfs = pytest.mark.skipif(
    shutil.which("bindfs") is None, reason="bindfs is not installed: apt-get install bindfs"
)


@contextmanager
def mounted(real: Path, *mounts: Path) -> Iterator[None]:
    """`real` is seen in all these folders, which are made. The test is skipped where nothing can be mounted."""
    done = []
    try:
        for folder in (real, *mounts):
            folder.mkdir(exist_ok=True)
        for mount in mounts:
            made = subprocess.run(["bindfs", "-o", "attr_timeout=0,entry_timeout=0", real, mount], capture_output=True)
            if made.returncode:
                pytest.skip(f"bindfs cannot mount here: {made.stderr.decode().strip()}")
            done.append(mount)
        yield
    finally:
        for mount in done:
            subprocess.run(["umount", "--lazy", mount], check=True)  # a failed test may hold it
