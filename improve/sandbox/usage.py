"""What a process tree uses: memory, disk, processes. Read from /proc and the writable folders.

This is a watch, not a cgroup: memory that belongs to no process for the moment (the unmapped rest of a shared mapping,
the buffers of pipes and sockets) is not seen. Such a program meets the kernel's memory killer, which is told to take
the sandbox first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from improve.sandbox.guard import tree

SMALLEST: Final = 4096  # bytes: what a file, however small, takes at least
ENDLESS: Final = 1 << 62  # of a folder that hides what is in it
_GONE: Final = (FileNotFoundError, ProcessLookupError)


class Held(NamedTuple):
    """Bytes in files that have no name any more and live in open descriptors."""

    memory: int
    disk: int


def memory(pids: Sequence[int], files: int, relevant: int) -> int:
    """Bytes of memory of the processes and of `files`, the bytes in memory file systems.

    Pages that processes share are counted once. Below `relevant` the answer may be too high: it is then cheaper.
    """
    upper = sum(_resident(pid) for pid in pids) + files
    if upper < relevant:
        return upper
    private = shared = 0
    for pid in pids:
        total, in_files = _proportional(pid)
        private += total - in_files
        shared += in_files
    return private + max(shared, files)  # mapped files of a memory file system are in both


def _fields(path: str, wanted: Sequence[bytes]) -> dict[bytes, int]:
    """Lines such as `Pss:  12 kB`, in bytes."""
    with open(path, "rb") as file:
        parts = (line.split() for line in file)
        return {part[0]: int(part[1]) * 1024 for part in parts if part and part[0] in wanted}


def _resident(pid: int) -> int:
    try:
        return sum(_fields(f"/proc/{pid}/status", (b"VmRSS:", b"VmSwap:")).values())
    except _GONE:
        return 0


def _proportional(pid: int) -> tuple[int, int]:
    """Bytes of the process with shared pages divided among their users; how much of it is shared memory."""
    try:
        found = _fields(f"/proc/{pid}/smaps_rollup", (b"Pss:", b"Pss_Shmem:", b"SwapPss:"))
    except PermissionError:  # it has made itself undumpable: take what everyone may see
        return _resident(pid), 0
    except _GONE:
        return 0, 0
    return found.get(b"Pss:", 0) + found.get(b"SwapPss:", 0), found.get(b"Pss_Shmem:", 0)


def threads_of(user: int) -> int:
    """How many threads run as the user now."""
    count = 0
    for pid in tree.parents():
        with contextlib.suppress(PermissionError, *_GONE):
            if os.stat(f"/proc/{pid}").st_uid == user:
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def disk(folders: Iterable[Path]) -> int:
    """Bytes on disk below the folders; links are not followed."""
    total = 0
    waiting = [str(folder) for folder in folders]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    total += _blocks(entry)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:  # closed to us, or nested too deep to be named
            return ENDLESS
    return total


def _blocks(entry: os.DirEntry[str]) -> int:
    try:
        return max(entry.stat(follow_symlinks=False).st_blocks * 512, SMALLEST)
    except FileNotFoundError:
        return 0


def held(pids: Iterable[int], in_memory: Sequence[str], on_disk: Sequence[str]) -> Held:
    """Bytes in unnamed files that the processes hold open, told apart by the beginnings of their former names."""
    seen: dict[tuple[int, int], tuple[str, int]] = {}
    for pid in pids:
        for path, status in open_files(pid):
            if status.st_nlink == 0:
                seen[status.st_dev, status.st_ino] = (path, status.st_blocks * 512)
    return Held(
        sum(size for path, size in seen.values() if path.startswith(tuple(in_memory))),
        sum(size for path, size in seen.values() if path.startswith(tuple(on_disk))),
    )


def open_files(pid: int) -> list[tuple[str, os.stat_result]]:
    """The regular files that a process has open, with the names under which it opened them."""
    found = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                path = os.readlink(entry.path)
                if path.startswith("/"):
                    status = os.stat(entry.path)
                    if stat.S_ISREG(status.st_mode):
                        found.append((path, status))
            except (PermissionError, *_GONE):
                continue
    except (PermissionError, *_GONE):
        return found
    return found
