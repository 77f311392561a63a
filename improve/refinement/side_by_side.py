"""Trainings that go on at the same time: threads for them, and what keeps one that has ended until it is its turn.

Records are written in the order in which trainings were asked for, whichever ends first. One that ends before its turn
is held in a file of the run's folder, which generated code cannot see: a killed process loses unfinished trainings
alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from improve.config.schema import ExecutorConfig

HELD = "held"  # folder in a run's


def goes_side_by_side(config: ExecutorConfig, candidates: int) -> bool:
    """Whether a run begins trainings together that do not wait for each other. By its configuration, whatever machine
    it is on: it decides which records there are."""
    return candidates > 1 or config.slots not in ("auto", "1")


@contextmanager
def threads(count: int, stop: Callable[[], None]) -> Iterator[ThreadPoolExecutor]:
    """So many threads. Whatever ends the block early has `stop` end what they do; none is left afterwards."""
    pool = ThreadPoolExecutor(count, "slot")
    with ExitStack() as last, ExitStack() as early:
        last.callback(pool.shutdown, wait=True, cancel_futures=True)
        early.callback(stop)
        yield pool
        early.pop_all()


class Held:
    """What is to be recorded of trainings that have ended. `whose` (hashes of sources) tells if it still fits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / HELD

    def get(self, key: str, whose: Mapping[str, str]) -> dict[str, Any] | None:
        try:
            kept: dict[str, Any] = json.loads(self._file(key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a crash of the machine may leave a file without its content
            return None
        return kept["made"] if kept["whose"] == whose else None

    def put(self, key: str, whose: Mapping[str, str], made: Mapping[str, Any]) -> None:
        """Written so that there is the whole of it or nothing."""
        self.folder.mkdir(exist_ok=True)
        part = self._file(key).with_suffix(".part")
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"whose": dict(whose), "made": made}, file, ensure_ascii=False, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._file(key))

    def drop(self, keys: Iterable[str]) -> None:
        """Forget these: they are on record."""
        for key in keys:
            self._file(key).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or a later batch's trainings are held
            self.folder.rmdir()

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"
