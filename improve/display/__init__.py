"""What a person sees in the terminal while a run is going on, and the card at its end.

In come a journal's records as they are written, out go lines: it shows the same whether a step was just done or is on
record from before a resume. It decides nothing, and a run does not depend on it. Imports the record.
"""

from __future__ import annotations

import sys
from typing import Protocol, TextIO

from improve.display.card import print_end_card
from improve.errors import ConfigError, nearest
from improve.record.journal import Record

__all__ = ["MODES", "Display", "make_display", "print_end_card"]

MODES = ("auto", "rich", "plain", "none")


class Display(Protocol):
    """Shows a run. `record` and `phase` may be called from any thread."""

    def record(self, record: Record) -> None:
        """A step's result: a listener of the journal, also told of the records that a resumed run replays."""

    def phase(self, iteration: int, stage: str, detail: str = "") -> None:
        """What is going on right now ("training", "epoch 3/12"); shown for as long as it lasts."""

    def note(self, text: str) -> None:
        """A line for the person."""

    def close(self) -> None:
        """Leave the terminal as it was found. May be called more than once."""


class NoDisplay:
    """Shows nothing."""

    def record(self, record: Record) -> None: ...

    def phase(self, iteration: int, stage: str, detail: str = "") -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def make_display(mode: str, stream: TextIO | None = None, name: str = "") -> Display:
    """The display of a mode: auto (rich on a terminal, else plain), rich, plain or none; on stdout unless told.

    `name` is said on each plain line, where the lines of several runs come together.

    Raises `ConfigError` for another mode.
    """
    stream = stream or sys.stdout
    if mode not in MODES:
        raise ConfigError(f"display.mode={mode} is not an option.", nearest(mode, MODES))
    if mode == "none":
        return NoDisplay()
    if mode == "rich" or (mode == "auto" and stream.isatty()):
        from improve.display.live import RichDisplay

        return RichDisplay(stream)
    from improve.display.plain import PlainDisplay

    return PlainDisplay(stream, name)
