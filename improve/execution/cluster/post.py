"""This machine's end of a station: sends what it lacks, tells it what to do, and follows it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from improve.domain import Failure
from improve.errors import ClusterError, SandboxError
from improve.execution.cell import START_SECONDS, Outcome
from improve.execution.cluster.job import DATA, EVENT, LOG, Job
from improve.execution.cluster.store import CHUNK, Damaged

POLL_SECONDS = 1.0
SILENT_SECONDS = 120.0  # after which a node that does not answer is lost, if the cluster has not said so before
SENDING = 2  # chunks that are on their way at once


class Lost(Exception):
    """The node, or the process on it, has gone: what it was doing has to be done again."""


Call = Callable[..., Any]  # a method's name, its arguments; gives a reference


@dataclass
class Lines:
    """What a call of a station needs of Ray, so that nothing else here knows it.

    `call(name, *arguments)` begins one and gives a reference; `get(reference, seconds)` waits for what it gives, and
    raises `Lost`. `kill()` ends the station.
    """

    call: Call
    get: Callable[[Any, float], Any]
    kill: Callable[[], None]


@dataclass
class Taken:
    """What a command has left, as it lies on the node; `errno` if it could not be taken."""

    sha: str = ""
    bytes: int = 0
    errno: int = 0


@dataclass
class Post:
    """A station as it is seen from here. `host`: its name; `address`: of its node, for other nodes."""

    lines: Lines
    host: str
    address: str = ""
    taken: Taken = field(default_factory=Taken)

    def carry_out(
        self, job: Job, sources: Mapping[str, Path], log: Path | None, on_event: Callable[[dict[str, Any]], None]
    ) -> Outcome:
        """Have a job done. `sources`: where its files lie here, by hash. What it prints goes to `log` as it comes.

        Raises `Lost`, and `SandboxError` if generated code cannot run there.
        """
        while lacking := self._ask("begin", job.text()):
            for sha in lacking:
                self._send(sha, sources[sha])
        outcome, end = Outcome(), dict[str, Any]()
        last_word = time.monotonic() + job.seconds + 2 * START_SECONDS
        with open(log or os.devnull, "wb") as printed:
            while not end:
                for message in self._ask("poll", POLL_SECONDS):
                    kind, content = message[:1], message[1:]
                    if kind == LOG:
                        printed.write(content)
                        printed.flush()
                    elif kind == DATA:
                        outcome.data = content
                    elif kind == EVENT:
                        on_event(json.loads(content))
                    else:
                        end = json.loads(content)
                if not end and time.monotonic() > last_word:
                    raise Lost(f"{self.host} did not end a command of {job.seconds:g} s")
        return self._told(outcome, end)

    def _told(self, outcome: Outcome, end: Mapping[str, Any]) -> Outcome:
        if "lost" in end:
            raise Lost(end["lost"])
        if "refused" in end:
            raise SandboxError(*end["refused"])
        if "bug" in end:
            raise RuntimeError(f"on {self.host}:\n{end['bug']}")
        outcome.failure = Failure.from_record(end["failure"]) if end["failure"] else None
        outcome.seconds = end["seconds"]
        self.taken = Taken(end.get("sha", ""), end.get("bytes", 0), end.get("errno", 0))
        return outcome

    def provide(self, job: Job, sources: Mapping[str, Path]) -> None:
        """Send what it lacks for a job, before others that do it too wait for it. Raises `Lost`."""
        for sha in self._ask("lacking", job.text()):
            self._send(sha, sources[sha])

    def listen(self) -> tuple[str, int]:
        """Have it await other stations; gives the address and port at which it does."""
        return self.address, int(self._ask("listen", self.address))

    def fetch(self, target: Path, limit: int) -> None:
        """Copy what the last command has left. Raises `OSError` as `Confined.take` does, and `Lost`."""
        taken = self.taken
        if taken.errno or taken.bytes > limit:
            number = taken.errno or errno.EFBIG
            raise OSError(number, os.strerror(number))
        digest = hashlib.sha256()
        with open(target, "wb") as file:
            for offset in range(0, taken.bytes, CHUNK):
                block = self._ask("read", taken.sha, offset)
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != taken.sha:
            raise Lost(f"what came from {self.host} is not what lies there")

    def _send(self, sha: str, source: Path) -> None:
        """In pieces, a few at a time: a file may be larger than the memory here."""
        size, waiting = source.stat().st_size, list[Any]()
        with open(source, "rb") as file:
            for offset in range(0, max(1, size), CHUNK):
                last = offset + CHUNK >= size
                waiting.append(self.lines.call("receive", sha, offset, file.read(CHUNK), last))
                if len(waiting) >= SENDING:
                    self._wait(waiting.pop(0))
        for reference in waiting:
            self._wait(reference)

    def _ask(self, name: str, *arguments: Any) -> Any:
        return self._wait(self.lines.call(name, *arguments))

    def _wait(self, reference: Any) -> Any:
        try:
            return self.lines.get(reference, SILENT_SECONDS)
        except Damaged as error:
            raise Lost(f"a file was damaged on its way to {self.host}: {error}") from error
        except OSError as error:
            raise ClusterError(
                f"A file could not be kept on {self.host}: {error}.",
                "free space there, or name another folder: executor.ray.cache_dir=DIR",
            ) from error


@dataclass
class Crew:
    """The stations that a training has, on as many nodes; all else is done by the first. `end` ends them."""

    posts: Sequence[Post]
    end: Callable[[], None]
    ended: bool = False

    def kill(self) -> None:
        """From any thread, also again."""
        self.ended = True
        self.end()
