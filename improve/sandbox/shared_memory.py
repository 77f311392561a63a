"""/dev/shm where it is shared with the host (T1, T0): whose files are whose, so that none outlives its sandbox.

POSIX shared memory is a file in one folder that all of a user's programs use. Files that appeared since the start, are
ours and are held by no process outside the sandbox count as the sandbox's. What was there before is noted in a file, so
that whoever comes next can clean up after a process that was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from improve.sandbox import usage
from improve.sandbox.guard import tree

FOLDER: Final = Path("/dev/shm")

_Key = tuple[int, int]  # device and inode


class SharedMemory:
    """Remembers what is in /dev/shm when it is made, also in the file `note`."""

    def __init__(self, note: Path) -> None:
        self._before = set(_files())
        self._note = note
        note.write_text(json.dumps({"process": _identity(os.getpid()), "before": sorted(self._before)}))

    def bytes(self, inside: Collection[int], relevant: int) -> int:
        """Size of the sandbox's files; may be too high below `relevant`. `inside` are the sandbox's processes."""
        new = self._new()
        total = sum(size for _, size in new.values())
        if total >= relevant:
            total -= sum(new[key][1] for key in _held_outside(set(new), inside))
        return total

    def remove(self) -> None:
        """Delete what a sandbox that has ended left behind."""
        _remove(self._new())
        self._note.unlink(missing_ok=True)

    def _new(self) -> dict[_Key, tuple[Path, int]]:
        return {key: value for key, value in _files().items() if key not in self._before}


def remove_forgotten(notes: Iterable[Path]) -> list[Path]:
    """Delete what was left by sandboxes whose processes were killed before they could, as their notes tell.

    Returns the notes, which are deleted, too.
    """
    forgotten = []
    for note in notes:
        try:
            told = json.loads(note.read_text())
            if note.stat().st_uid != os.geteuid() or _identity(told["process"][0]) == told["process"]:
                continue
        except (FileNotFoundError, PermissionError):
            continue
        except ValueError:  # killed while it wrote: no sandbox had begun
            told = {"before": sorted(_files())}
        before = {(device, inode) for device, inode in told["before"]}
        _remove({key: value for key, value in _files().items() if key not in before})
        note.unlink(missing_ok=True)
        forgotten.append(note)
    return forgotten


def _identity(pid: int) -> list[int]:
    """A process id with the time of its start, since the number alone may be another's by now; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return [pid, int(file.read().rpartition(b")")[2].split()[19])]
    except (FileNotFoundError, ProcessLookupError):
        return [pid, 0]


def _remove(files: Mapping[_Key, tuple[Path, int]]) -> None:
    """Delete those that no process holds."""
    for key in set(files) - _held_outside(set(files), ()) if files else ():
        files[key][0].unlink(missing_ok=True)


def _files() -> dict[_Key, tuple[Path, int]]:
    """Our own files in the folder: name and bytes."""
    found: dict[_Key, tuple[Path, int]] = {}
    try:
        for entry in os.scandir(FOLDER):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_uid == os.geteuid() and entry.is_file(follow_symlinks=False):
                found[status.st_dev, status.st_ino] = (Path(entry.path), status.st_blocks * 512)
    except FileNotFoundError:  # a machine without the folder
        return found
    return found


def _held_outside(keys: Collection[_Key], inside: Collection[int]) -> set[_Key]:
    """Those that a process which is not `inside` has open or mapped."""
    found: set[_Key] = set()
    for pid in set(tree.parents()) - set(inside):
        found |= {(status.st_dev, status.st_ino) for _, status in usage.open_files(pid)} & set(keys)
        found |= _mapped(pid) & set(keys)
    return found


def _mapped(pid: int) -> set[_Key]:
    """Files of the folder that a process has mapped; nothing where it may not be looked at."""
    found: set[_Key] = set()
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if len(fields) == 6 and fields[5].startswith(b"/dev/shm/"):
                    major, minor = (int(part, 16) for part in fields[3].split(b":"))
                    found.add((os.makedev(major, minor), int(fields[4])))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return found
    return found
