"""What lies below a folder of outputs, looked at again and again: each journal is read only when it has grown."""

import platform
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from improve.errors import ResumeError
from improve.record.history import History
from improve.record.journal import JOURNAL, LOCK
from improve.record.runs import run_folders_below
from improve.report.study.runs import StudyRun, study_run

RUNNING, STOPPED, FINISHED, FAILED = "running", "stopped", "finished", "failed"
BEGINNING, UNREADABLE = "beginning", "unreadable"
LATELY = 1800.0  # seconds within which a run that goes on writes something: a record, a validation, a line of a log
MOST_BESIDE = 16  # candidates that are looked at for what was written lately


@dataclass(frozen=True)
class Seen:
    """A run as of the last look; `run` is None where its journal says nothing yet, or cannot be read (`why`)."""

    name: str  # its folder, relative to the outputs
    folder: Path
    version: str  # another one whenever its journal has grown
    run: StudyRun | None
    why: str
    held: bool  # whether a process is at work on it

    @property
    def state(self) -> str:
        if self.held:
            return RUNNING if self.run else BEGINNING
        if self.run is None:
            return UNREADABLE
        return {"scored": FINISHED, "failed": FAILED, "unfinished": STOPPED}[self.run.state]

    @property
    def page_version(self) -> str:
        """Another one whenever the run's page would be another one: a training writes before the journal grows."""
        beside = self.run.settings.get("strategy.candidates", "") if self.run else ""
        files = _written(self.folder, int(beside) if beside.isdecimal() else 1)
        return " ".join([self.version, self.state, *map(_size_and_time, files)])


class Outputs:
    """The runs at or below a folder. May be asked from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[str, StudyRun | None, str]] = {}

    def runs(self) -> list[Seen]:
        """All of them, by name."""
        with self._lock:
            folders = list(run_folders_below(self.folder))
            for gone in self._seen.keys() - set(folders):
                del self._seen[gone]
            locked = set(_locked())
            return [self._look(folder, locked) for folder in folders]

    def find(self, name: str) -> Seen | None:
        """The run of that name. A name is compared with those that are there, and no path is ever made of it."""
        return next((seen for seen in self.runs() if seen.name == name), None)

    def _look(self, folder: Path, locked: set[int]) -> Seen:
        version = _size_and_time(folder / JOURNAL)
        if folder not in self._seen or self._seen[folder][0] != version:
            self._seen[folder] = (version, *_read(folder))
        _, run, why = self._seen[folder]
        name = folder.name if folder == self.folder else folder.relative_to(self.folder).as_posix()
        ended = run is not None and run.state != "unfinished"
        held = _inode(folder / LOCK) in locked or (not ended and _held_elsewhere(folder))
        return Seen(name, folder, version, run, why, held)


def _written(folder: Path, beside: int) -> list[Path]:
    """What the newest candidates of a run, of which so many train side by side, write before its journal grows."""
    newest = sorted((folder / "candidates").glob("*"))[-beside:]
    return [path / name for path in newest for name in ("metrics.csv", "log.txt")]


def _held_elsewhere(folder: Path) -> bool:
    """Whether another machine seems to be at work on a run: its lock is not among this machine's.

    It has written its name into the lock's file, and something of the run lately.
    """
    try:
        host = (folder / LOCK).read_text(encoding="utf-8").rpartition(" on ")[2]
    except (OSError, UnicodeDecodeError):
        return False
    if not host or host == platform.node():
        return False
    now, times = time.time(), [_changed(file) for file in (folder / JOURNAL, *_written(folder, MOST_BESIDE))]
    return now - max(times) < LATELY


def _read(folder: Path) -> tuple[StudyRun | None, str]:
    try:
        return study_run(folder, History.read(folder)), ""
    except ResumeError as error:
        return None, error.what
    except OSError as error:
        return None, f"{folder} cannot be read: {error.strerror}"


def _size_and_time(file: Path) -> str:
    try:
        status = file.lstat()
    except OSError:
        return "none"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _changed(file: Path) -> float:
    """When it was, in seconds since 1970; 0 if it is not there."""
    try:
        return file.lstat().st_mtime
    except OSError:
        return 0.0


def _inode(file: Path) -> int | None:
    try:
        return file.lstat().st_ino
    except OSError:
        return None


def _locked() -> Iterator[int]:
    """The inodes of all files of this machine with a lock, by `proc_locks(5)`.

    To try the lock instead would be to hold it for a moment, in which its run could not start. Devices are not
    compared: those of overlay file systems differ from what a file says of itself.
    """
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        found = re.search(r" FLOCK .* [0-9a-f]+:[0-9a-f]+:(\d+) ", line)
        if found:
            yield int(found[1])
