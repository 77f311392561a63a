"""Commands as an ordinary user, where the tests run as root."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from improve.sandbox import remove
from tests.support.paths import ROOT

USER = 12345  # of nobody else, with no name: what is not open to all is closed to it


class Ordinary:
    """A user with a `home` of its own, which is its temporary folder and holds its cache, too."""

    def __init__(self, home: Path) -> None:
        self.home = home
        surroundings = [f"HOME={home}", f"TMPDIR={home}", f"IMPROVE_CACHE={home}/cache", "PYTHONDONTWRITEBYTECODE=1"]
        self._user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", *surroundings]

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs these words as that user."""
        last = shlex.join(["exec", *self._user, *map(str, words)])
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            "\n".join(["set -e", "mount --make-rprivate /", *self._opened(), last]),
        ]

    def _opened(self) -> Iterator[str]:
        """Python may lie in a folder that is closed to others, as /root is: an open one takes its place, for us alone.

        It holds what is needed and nothing else.
        """
        asides = {path: self.home / f"aside-{number}" for number, path in enumerate(_needed())}
        for path, aside in asides.items():
            if _closed(path):
                yield shlex.join(["mkdir", "-p", str(aside)])
                yield shlex.join(["mount", "--bind", str(path), str(aside)])
        for folder in dict.fromkeys(filter(None, map(_closed, asides))):
            yield shlex.join(["mount", "-t", "tmpfs", "-o", "mode=755", "none", str(folder)])
        for path, aside in asides.items():
            if _closed(path):
                yield shlex.join(["mkdir", "-p", str(path)])
                yield shlex.join(["mount", "--move", str(aside), str(path)])


def _needed() -> list[Path]:
    """Python, the environment and the checkout; none lies in another."""
    every = {Path(sys.base_prefix), Path(sys.prefix), ROOT}
    return sorted(path for path in every if not every & set(path.parents))


def _closed(path: Path) -> Path | None:
    """The outermost folder above it that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


@contextmanager
def ordinary_user() -> Iterator[Ordinary]:
    """Skips the test where no other user can run this Python."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; as an ordinary one the other tests run")
    if not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("setpriv and unshare (util-linux) are not installed")
    home = Path(tempfile.mkdtemp(prefix="ordinary-", dir="/tmp"))  # pytest's own folders are closed to others
    os.chown(home, USER, USER)
    try:
        user = Ordinary(home)
        tried = subprocess.run(user.command(sys.executable, "-c", "import improve"), capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"another user cannot run this Python: {tried.stderr.strip()}")
        yield user
    finally:
        remove(home)
