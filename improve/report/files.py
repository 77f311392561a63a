"""Reads the files that a run's records name; whatever generated code left there, reading it is harmless.

No link is followed, nothing outside the run's folder is read, nothing but regular files is opened, and no file is
read beyond a limit. A file that is missing or refused is None: pages say so and go on.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

TEXT_LIMIT = 200_000  # bytes of a source, a prompt or a log
IMAGE_LIMIT = 600_000  # bytes of one image on a page
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class RunFiles:
    """The files of one run's folder, by their names relative to it."""

    folder: Path

    def text(self, name: str) -> str | None:
        """The beginning of a text file; bad UTF-8 is replaced."""
        raw = self._read(name, TEXT_LIMIT)
        return None if raw is None else raw.decode(errors="replace")

    def tail(self, name: str, limit: int) -> str | None:
        """The last `limit` bytes of a text file, from the start of a line."""
        raw = self._read(name, limit, from_end=True)
        if raw is None:
            return None
        if len(raw) == limit and b"\n" in raw:
            raw = raw[raw.index(b"\n") + 1 :]
        return raw.decode(errors="replace")

    def png(self, name: str) -> bytes | None:
        """A small PNG file."""
        raw = self._read(name, IMAGE_LIMIT + 1)
        return raw if raw is not None and len(raw) <= IMAGE_LIMIT and raw.startswith(PNG) else None

    def _read(self, name: str, limit: int, *, from_end: bool = False) -> bytes | None:
        root = self.folder.resolve()
        path = root / name
        if not name or os.path.normpath(path) != str(path) or not path.is_relative_to(root):
            return None
        try:
            # A link anywhere on the way makes the resolved path another one.
            if path.resolve(strict=True) != path:
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError):  # ValueError: a NUL in the name; RuntimeError: a loop of links
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                if from_end:
                    file.seek(max(0, status.st_size - limit))
                return file.read(limit)
        finally:
            os.close(descriptor)


def data_uri(kind: str, content: bytes) -> str:
    """A file as part of a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
