"""Downloads: one at a time into a folder, with a progress bar, a limit on silence, and one sentence where they fail."""

from __future__ import annotations

import contextlib
import http.client
import io
import shutil
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

from improve.config.places import expanded
from improve.datasets.source import Downloads
from improve.datasets.store import FORBIDDEN, FULL, locked
from improve.errors import DataError

SILENCE_SECONDS = 20.0  # a server that says nothing for so long is out of reach
LONGEST = 200  # characters of a library's own words
FAILURES = (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError, zipfile.BadZipFile)


class _Bar(io.TextIOBase):
    """Where the libraries' own progress bars are written to: each of their lines goes to `show`."""

    def __init__(self, what: str, show: Callable[[str], None]) -> None:
        self._what, self._show = what, show
        self._streams = sys.stdout, sys.stderr

    def write(self, text: str) -> int:
        if text.strip():
            # Whoever shows it may write to the streams that this object stands in for.
            with contextlib.redirect_stdout(self._streams[0]), contextlib.redirect_stderr(self._streams[1]):
                self._show(f"{self._what}: {text.strip()}")
        return len(text)


@contextlib.contextmanager
def fetching(
    what: str, into: Path, by_hand: str, downloads: Downloads, notify: Callable[[str], None]
) -> Iterator[None]:
    """Downloads of `what` inside of it go to the folder `into`; other processes wait until they are done.

    Raises `DataError` if they fail, which names `by_hand`: what people can do without a network, "put … into …".
    """
    downloads.folder.mkdir(parents=True, exist_ok=True)
    with locked(downloads.folder / f"{into.name}.lock", lambda text: notify(f"another run is downloading {what}")):
        before = socket.getdefaulttimeout()
        try:
            socket.setdefaulttimeout(SILENCE_SECONDS)
            bar = _Bar(what, downloads.progress)
            # The libraries draw their bars on stderr and talk on stdout, in the middle of our display.
            with contextlib.redirect_stderr(bar), contextlib.redirect_stdout(bar):
                yield
        except FAILURES as error:
            if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
                raise  # RecursionError and the like are bugs; torchvision reports damaged files as a plain RuntimeError
            raise _explained(error, what, into, by_hand) from error
        finally:
            socket.setdefaulttimeout(before)


def _explained(error: BaseException, what: str, into: Path, by_hand: str) -> DataError:
    number = getattr(error, "errno", None)
    elsewhere = "another folder for it: dataset.path=DIR"
    if number in FULL:
        fix = f"free some space, or choose {elsewhere}"
        return DataError(f"{what} does not fit into {into}: the disk is full.", fix)
    if number in FORBIDDEN and not isinstance(error, URLError):
        reason = getattr(error, "strerror", None) or error
        return DataError(f"{what} cannot be written to {into} ({reason}).", f"choose {elsewhere}")
    reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
    reason = reason if len(reason) <= LONGEST else reason[:LONGEST] + "…"
    return DataError(
        f"{what} could not be downloaded to {into} ({reason}).",
        f"start again once the network is there, or {by_hand}",
    )


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a zip file into the new folder `target`, which appears whole or not at all, and removes the file."""
    building = target.with_name(target.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(building)
    building.rename(target)
    archive.unlink()


def check_folder(path: str | None) -> None:
    """Refuse a `dataset.path` that does not exist: it may be mistyped, so nothing is downloaded to it."""
    if path and not expanded(path).exists():
        raise DataError(f"dataset.path={path} does not exist.", f"check it, or make the folder (mkdir -p '{path}')")
