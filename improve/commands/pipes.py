"""Output into a pipe whose reader has gone (`improve keys | head`): nothing is lost, and nothing is complained of."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def ignore_closed_pipes() -> None:
    """Let this process's own stdout and stderr fall silent once nobody reads them, instead of breaking what is done."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A stream that somebody has put there (a test, a notebook) stays as it is.
        if stream is not None and stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _patient(stream))


def _patient(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = _Patient(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through or stream.isatty(),
    )


class _Patient(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)
