"""The append-only record of a run: the only truth; pages, tables and the resumed state are rebuilt from it.

A line is `LINK JSON`, fsynced before anything acts on it. The link is a checksum of the JSON and of the link before it:
a change in the middle is found unless all that follows is written anew, and who keeps the last link can tell even then.
A run is a sequence of *steps*; each step's result is recorded once. Resuming runs the same program again: a step on
record returns its record instead of being done again, so a resumed run asks no model twice and ends with the journal of
an uninterrupted one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

from improve.errors import InUse, ResumeError, RunChanged
from improve.record.locks import NO_LOCKS, without_locks

JOURNAL = "journal.jsonl"
LOCK = "lock"
LINK_LENGTH = 32  # hexadecimal digits
OLD_LENGTH = 16  # of journals that were begun before lines were chained: each had a checksum of its own line alone
# Kinds that are no steps: other code went on, what a server taught, a call that nobody answered, what was tested when
# a session ended for that, what a cluster lost.
NOTES = ("code", "server", "unanswered", "outage", "lost")
UNTOLD = ("code",)  # … and come before there is anything to tell


@dataclass(frozen=True)
class Record:
    """One step: its `key` (unique in a run), its `kind`, what it gave, and when (UTC) and how long (seconds)."""

    key: str
    kind: str
    data: dict[str, Any]
    at: str
    seconds: float

    def text(self) -> str:
        return json.dumps(self.__dict__, sort_keys=True, ensure_ascii=False, allow_nan=False)


class Written(NamedTuple):
    """What a journal holds: its records, the length in bytes of its intact part, the last link ("" if none)."""

    records: list[Record]
    intact: int
    link: str


def lines(records: Iterable[Record], link: str = "") -> Iterator[str]:
    """The lines that hold these records, after a line with this link."""
    for record in records:
        text = record.text()
        link = _link(link, text)
        yield f"{link} {text}\n"


def read(path: Path) -> Written:
    """A journal's content.

    A last line that is not whole was torn by a crash and is left out; any other line whose link does not fit raises
    `ResumeError` with its number.
    """
    records: list[Record] = []
    intact, before, chained = 0, "", False
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        record, link = _parse(line, before, chained)
        if record is None:
            if number == len(lines) and _is_torn(line):
                break
            raise ResumeError(
                f"{path}, line {number}: the record is damaged (its checksum does not match).",
                f"restore the file from a copy, or start again in another folder (run_dir=…); "
                f"lines 1 to {number - 1} are intact",
            )
        records.append(record)
        intact, before, chained = intact + len(line), link, chained or len(link) == LINK_LENGTH
    return Written(records, intact, before)


def _parse(line: bytes, before: str, chained: bool) -> tuple[Record | None, str]:
    """The record of a line and its link; no record if the line is damaged, or not chained where one before it was."""
    if not line.endswith(b"\n"):
        return None, ""
    try:
        link, text = line.decode().rstrip("\n").split(" ", 1)
        old = len(link) == OLD_LENGTH and not chained
        expected = _checksum(text)[:OLD_LENGTH] if old else _link(before, text)
        return (Record(**json.loads(text)), link) if link == expected else (None, "")
    except (ValueError, TypeError):
        return None, ""


def _is_torn(line: bytes) -> bool:
    try:
        json.loads(line.decode().split(" ", 1)[1])
    except (ValueError, IndexError):
        return True
    return not line.endswith(b"\n")


def _link(before: str, text: str) -> str:
    return _checksum(f"{before} {text}")[:LINK_LENGTH]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """The journal of one run's folder, held exclusively while it is open.

    `listeners` are told of every record, also of those that a resumed run finds already written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self.listeners: list[Callable[[Record], None]] = []
        self._lock = _lock(folder)
        self._writing = threading.RLock()
        written = read(self.path) if self.path.exists() else Written([], 0, "")
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  # held open for the run
        self.torn_bytes = self._file.tell() - written.intact
        self._file.truncate(written.intact)
        self.link = written.link  # of the last record
        self._past = {record.key: record for record in written.records}
        self._pending = [record for record in written.records if record.kind not in NOTES]

    @property
    def resumed(self) -> bool:
        """Whether the folder already held records when it was opened."""
        return bool(self._past)

    @property
    def upcoming(self) -> str | None:
        """The key of the step on record that comes next; None once all of an earlier session's steps are told."""
        return self._pending[0].key if self._pending else None

    @property
    def past_seconds(self) -> float:
        """How long the steps took that were done before this process started."""
        return sum(record.seconds for record in self._past.values())

    def peek(self, key: str) -> Record | None:
        """The record of a step, if it was done before this process started."""
        return self._past.get(key)

    def once(self, key: str, kind: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do a step and record what it gave, or return what is on record for it.

        Raises `RunChanged` if the journal on disk goes on with another step: the program has changed.
        """
        if self._pending:
            record = self._pending[0]
            if (record.key, record.kind) != (key, kind):
                raise RunChanged(
                    f"{self.path} goes on with the step {record.key!r}, but this version of improve would do {key!r}.",
                    "resume with the version that began the run; or retry_failed=true sets it aside and starts again",
                )
            self._pending.pop(0)
        else:
            started = time.monotonic()
            data = do()
            record = Record(key, kind, data, _now(), round(time.monotonic() - started, 3))
            self._append(record)
        for listener in self.listeners:
            listener(record)
        return record.data

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Record at once what is no step of the program (one of `NOTES`): resuming passes over it.

        Trainings that go on side by side may call it at the same time.
        """
        with self._writing:
            number = sum(record.kind == kind for record in self._past.values())
            record = Record(f"{kind}-{number}", kind, data, _now(), 0.0)
            self._append(record)
            self._past[record.key] = record
        for listener in () if kind in UNTOLD else self.listeners:
            listener(record)

    def notes(self, kind: str) -> list[dict[str, Any]]:
        """What was noted of this kind, oldest first."""
        return [record.data for record in self._past.values() if record.kind == kind]

    def _append(self, record: Record) -> None:
        with self._writing:
            self._write(record)

    def _write(self, record: Record) -> None:
        (text,) = lines([record], self.link)
        line, link = text.encode(), text.split(" ", 1)[0]
        start = self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError:
            # A full disk may leave half a line: take it back, so that nothing half-written stays.
            os.ftruncate(self._file.fileno(), start)
            raise
        self.link = link

    def close(self) -> None:
        self._file.close()
        if not self._lock.closed:
            self._lock.truncate(0)  # whoever cannot see the lock, as from another machine, is told that it is free
        self._lock.close()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _lock(folder: Path) -> IO[str]:
    """Hold the run's folder; raises `InUse` naming the process that has it."""
    path = folder / LOCK
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115  # held open for the run
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have removed the unused folder between the two lines above: then this lock holds nothing.
        held = path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except BlockingIOError:
        held = False
    except OSError as error:
        handle.close()
        if error.errno in NO_LOCKS:
            raise without_locks(folder, error) from None
        raise
    if not held:
        handle.seek(0)
        holder = handle.read().strip() or "another process"
        handle.close()
        raise InUse(f"{folder} is in use by {holder}.", "wait until it has ended, or choose another folder (run_dir=…)")
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {platform.node()}")
    handle.flush()
    return handle
