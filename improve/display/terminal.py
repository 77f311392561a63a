"""What the terminal at hand can show: one place that knows about encodings."""

from __future__ import annotations

import io
from typing import TextIO

from improve.display.text import ASCII_MARKS, MARKS, clean
from improve.domain import Verdict

# What our own texts use beyond ASCII, and what stands in for it where the terminal has no UTF-8.
_PLAIN = str.maketrans({"→": "->", "·": "-", "–": "-", "…": "...", "×": "x", "é": "e", "━": "=", "╸": "-", "─": "-"})


class Writer:
    """A text stream that never fails on a character that it cannot show.

    When its reader has gone (`improve run | head`), it falls silent: the run goes on, and its journal has it all.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.unicode = _shows(self.encoding, "✔✘→·–…")
        self._gone = False
        if isinstance(stream, io.TextIOWrapper):
            # Foreign text may hold anything; rich writes to this stream too.
            stream.reconfigure(errors="replace")

    def mark(self, verdict: Verdict) -> str:
        return (MARKS if self.unicode else ASCII_MARKS)[verdict]

    def fit(self, text: str) -> str:
        """Text as the stream can show it, on one line and harmless: the one door through which all text goes out."""
        text = clean(text).replace("\n", " ")
        if self.unicode:
            return text
        return text.translate(_PLAIN).encode(self.encoding, "replace").decode(self.encoding)

    def line(self, text: str = "") -> None:
        if not self._gone:
            try:
                self.stream.write(self.fit(text) + "\n")
                self.stream.flush()
            except BrokenPipeError:
                self._gone = True


def _shows(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
