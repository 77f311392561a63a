"""What is otherwise on NFS: a folder that is mounted a second time by bindfs, and a lock that asks for more.

Locks of one mount of bindfs are not seen by another, and a file that is removed while it is open keeps its place in
its folder, under a hidden name, until it is closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


def flock_on_nfs(file: IO[bytes] | IO[str], kind: int) -> None:
    """In the place of `fcntl.flock`: an exclusive lock is one of bytes (flock(2)), for files that may be written."""
    if kind & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    real_flock(file, kind)


real_flock = fcntl.flock
