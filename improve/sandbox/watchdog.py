"""Ends a sandbox that uses more than its limits."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from improve.sandbox.values import Limits

CALM_SECONDS: Final = 0.5
ALERT_SECONDS: Final = 0.1  # from half of a limit on
GLANCE_SECONDS: Final = 0.02  # between two questions whether to hurry


class Usage(NamedTuple):
    """Bytes, bytes and a count."""

    memory: int
    disk: int
    processes: int


class Watchdog(threading.Thread):
    """Measures until the process behind `process` (a pidfd, closed at the end) has ended, and once more then.

    At the first limit that is reached it sets `killed_for` ("memory", "disk" or "processes") and calls `end`. It
    measures now and then, and at once when `hurried` says so.
    """

    def __init__(
        self,
        process: int,
        limits: Limits,
        measure: Callable[[], Usage],
        hurried: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        super().__init__(name="sandbox-watchdog", daemon=True)
        self.killed_for: str | None = None
        self._process = process
        self._limits = limits
        self._measure = measure
        self._hurried = hurried
        self._end = end

    def run(self) -> None:
        ended = select.poll()
        ended.register(self._process, select.POLLIN)
        pause = ALERT_SECONDS
        watching = True
        try:
            while not self.killed_for and not self._ended(ended, pause):
                pause = self._look()
            if not self.killed_for:
                self._look()  # a program that filled the disk has usually died of it before we looked
            watching = False
        finally:
            if watching or self.killed_for:  # without a watchdog nothing may run
                self._end()
            os.close(self._process)

    def _ended(self, ended: select.poll, seconds: float) -> bool:
        """Wait for so long, or until there is reason to hurry. Whether the program has ended."""
        until = time.monotonic() + seconds
        while not ended.poll(GLANCE_SECONDS * 1000):
            if time.monotonic() >= until or self._hurried():
                return False
        return True

    def _look(self) -> float:
        """Measure and judge; seconds until the next look."""
        used = self._measure()
        shares = {
            "memory": used.memory / self._limits.memory_bytes,
            "disk": used.disk / self._limits.disk_bytes,
            "processes": used.processes / (self._limits.processes + 1),
        }
        worst = max(shares, key=lambda name: shares[name])
        if shares[worst] >= 1:
            self.killed_for = worst
        return ALERT_SECONDS if max(shares["memory"], shares["disk"]) > 0.5 else CALM_SECONDS
