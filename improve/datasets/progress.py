"""A progress bar as one line of text: a terminal shows it in place, a log file now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

WIDTH = 24  # characters of the bar
SECONDS = 0.2  # between two lines
SETTLED = 2.0  # seconds after which the time left can be estimated


class Bar:
    """Tells `show` how far a work of `total` `unit` is: "[####----] 50% (5,000 of 10,000 images, about 12 s left)"."""

    def __init__(self, total: int, unit: str, show: Callable[[str], None]) -> None:
        self.total, self.unit, self.show = total, unit, show
        self._began = time.monotonic()
        self._told = 0.0

    def at(self, done: int) -> None:
        """`done` of them are done; shown if the last line is a while ago, or if it is the end."""
        now = time.monotonic()
        if now - self._told < SECONDS and done < self.total:
            return
        self._told = now
        share = min(1.0, done / self.total) if self.total else 1.0
        filled = int(share * WIDTH)
        elapsed = now - self._began
        left = ""
        if elapsed >= SETTLED and 0 < done < self.total:
            left = f", about {elapsed / done * (self.total - done):,.0f} s left"
        bar = "#" * filled + "-" * (WIDTH - filled)
        self.show(f"[{bar}] {share:.0%} ({done:,} of {self.total:,} {self.unit}{left})")
