"""Files that a node of a cluster was sent, by their content's hash: each comes once and stays for later ones."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from improve.datasets.store import file_hash, forget_times

READABLE = 0o755  # also for the user as whom generated code runs
CHUNK = 1 << 25  # bytes that are sent at once
USED = ".used"  # ends the name of an empty file whose time says when the other was used: nothing tells that inside


class Damaged(Exception):
    """What came is not what was announced."""


class Store:
    """The files of `folder`, up to `limit` bytes: beyond it, those go first that were used longest ago.

    Processes may share it: a file is there whole or not at all, and whoever uses one holds a link of their own.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(READABLE)
        self.coming = folder / f".{secrets.token_hex(8)}"  # what is being received, one file at a time

    def lacking(self, hashes: Iterable[str]) -> list[str]:
        """Those that are not here. What is here counts as used now."""
        return [sha for sha in dict.fromkeys(hashes) if not self._use(sha)]

    def _use(self, sha: str) -> bool:
        there = self.path(sha).exists()
        if there:
            self._mark(sha).touch()
        return there

    def receive(self, sha: str, offset: int, data: bytes, last: bool) -> None:
        """The next bytes of a file, from `offset` on. Raises `Damaged` if they do not belong there."""
        with open(self.coming, "ab" if offset else "wb") as file:
            if file.tell() != offset:
                raise Damaged(f"bytes from {offset} on came after {file.tell()}")
            file.write(data)
        if last:
            self.keep(self.coming, sha)

    def keep(self, file: Path, sha: str) -> None:
        """Make a file of this disk one of ours. Raises `Damaged` if its content is another."""
        if file_hash(file) != sha:
            file.unlink()
            raise Damaged(f"what came for {sha} is something else")
        file.chmod(READABLE & 0o666)
        forget_times([file])
        self._mark(sha).touch()
        file.replace(self.path(sha))
        self._make_room()

    def link(self, sha: str, target: Path) -> None:
        """Have the file under another name. Raises `FileNotFoundError` if it is not here."""
        os.link(self.path(sha), target)

    def forget(self, sha: str) -> None:
        self.path(sha).unlink(missing_ok=True)
        self._mark(sha).unlink(missing_ok=True)

    def read(self, sha: str, offset: int) -> bytes:
        """At most `CHUNK` bytes of a file."""
        with open(self.path(sha), "rb") as file:
            file.seek(offset)
            return file.read(CHUNK)

    def close(self) -> None:
        self.coming.unlink(missing_ok=True)

    def _make_room(self) -> None:
        kept = 0
        for mark in sorted(self.folder.glob(f"*{USED}"), key=_time, reverse=True):
            sha = mark.name.removesuffix(USED)
            kept += _size(self.path(sha))
            if kept > self.limit:
                self.forget(sha)

    def path(self, sha: str) -> Path:
        """Where a file is, if it is here. Raises `ValueError` for what is no hash."""
        if len(sha) != 64 or not set(sha) <= set("0123456789abcdef"):
            raise ValueError(f"{sha!r:.80} is no SHA-256")
        return self.folder / sha

    def _mark(self, sha: str) -> Path:
        return self.folder / f"{sha}{USED}"


def _time(path: Path) -> float:
    """When it was changed; long ago if it is gone: other processes may remove files."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
