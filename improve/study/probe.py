"""Whether a lock that one machine holds is seen by the others: tried out, since no name of a file system tells.

Runs, prepared images and the pace of a model are each held by a lock on a file (flock). On NFS 4, on NFS 3 with its
lock service, on Lustre with `-o flock`, GPFS and CephFS such a lock holds for all machines; on NFS with `nolock` or
`local_lock`, on Lustre with `localflock` and on many file systems in user space for one machine alone. The process that
starts a study on several machines keeps a file locked and writes into it every other second; a run that gets the lock
while that goes on has found out.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from improve.errors import ConfigError
from improve.record.folders import make_folder
from improve.record.locks import NO_LOCKS, without_locks

BEAT = 2.0  # seconds


@contextmanager
def probes(folders: Iterable[Path]) -> Iterator[tuple[Path, ...]]:
    """Files in these folders that are locked, and written into, as long as this lasts.

    Raises `ConfigError` where a folder cannot be written, or knows no locks.
    """
    ended = threading.Event()
    with ExitStack() as held:
        files = []
        for folder in folders:
            make_folder(folder)
            # One for each process: the same study may be started from two machines.
            file = folder / f".locks-{os.uname().nodename}-{os.getpid()}"
            held.callback(file.unlink, missing_ok=True)
            handle = held.enter_context(open(file, "w", encoding="utf-8"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise without_locks(folder, error) from None
            files.append(file)
            beating = threading.Thread(target=_beat, args=(handle.fileno(), ended), daemon=True)
            beating.start()
            held.callback(beating.join)
        held.callback(ended.set)
        yield tuple(files)


def require_locks(files: Iterable[Path]) -> None:
    """Raises `ConfigError` if the lock that another process holds on one of these files is not seen from here.

    Takes no time where it is. Where that process has died, nobody can tell, and nothing is refused.
    """
    for file in files:
        if not _holds(file):
            raise ConfigError(
                f"A lock in {file.parent} that one machine holds is not seen by {os.uname().nodename}: two could work "
                "on one run, or prepare the same images, without knowing.",
                "mount that file system with locks for all machines (NFS: version 4, without nolock and local_lock; "
                "Lustre: -o flock), or choose folders on another: outputs=DIR cache_dir=DIR",
            )


def _holds(file: Path) -> bool:
    try:
        with open(file, "r+", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return True  # its process has ended
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    before = _content(file)
    time.sleep(3 * BEAT)
    after = _content(file)
    return before == after or not after


def _beat(file: int, ended: threading.Event) -> None:
    number = 0
    while not ended.wait(BEAT if number else 0):
        number += 1
        os.pwrite(file, f"{number:9}".encode(), 0)
        os.fsync(file)  # only then do other machines see it


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
