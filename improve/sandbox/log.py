"""What a confined program prints, kept up to a limit. The text is untrusted: it is stored and shown, never obeyed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

_HEAD: Final = 4096  # bytes kept in memory, for the message of a sandbox that could not start


class LogPump(threading.Thread):
    """Copies a pipe into a file until all its writers are gone; goes on reading past the limit, so none ever blocks."""

    def __init__(self, source: int, target: Path | None, limit: int) -> None:
        super().__init__(name="sandbox-log", daemon=True)
        self.head = b""
        self._source = source
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._target = os.open(target, flags, 0o644) if target else os.open(os.devnull, os.O_WRONLY)
        self._left = limit

    def run(self) -> None:
        dropped = 0
        try:
            while block := os.read(self._source, 1 << 16):
                self.head += block[: _HEAD - len(self.head)]
                kept = block[: self._left]
                self._left -= len(kept)
                dropped += len(block) - len(kept)
                self._write(kept)
            if dropped:
                self._write(f"\n[{dropped} more bytes of output were dropped]\n".encode())
        finally:
            os.close(self._source)
            os.close(self._target)

    def _write(self, content: bytes) -> None:
        """A disk that is full loses output; the program must not wait for a reader because of it."""
        try:
            while content:
                content = content[os.write(self._target, content) :]
        except OSError:
            self._left = 0
