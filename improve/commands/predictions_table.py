"""The CSV of `improve predict`: which columns it has, and a file of which nothing is lost."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from improve.errors import ConfigError


@dataclass(frozen=True)
class Columns:
    """`top`: how many of the likeliest classes; `every`: the probability of each class, too."""

    top: int = 1
    every: bool = False


class Table:
    """`file, class, probability`, then `class_2, probability_2` …, then `p(NAME)` for each class."""

    def __init__(self, stream: TextIO, classes: Sequence[str], columns: Columns) -> None:
        self._stream, self._classes, self._columns = stream, classes, columns
        self._top = min(columns.top, len(classes))
        self._writer = csv.writer(stream, lineterminator="\n")
        ranks = ["", *(f"_{rank}" for rank in range(2, self._top + 1))]
        names = [f"p({name})" for name in classes] if columns.every else []
        self._row(["file", *(f"{column}{rank}" for rank in ranks for column in ("class", "probability")), *names])

    def write(self, files: Sequence[Path], probabilities: np.ndarray) -> None:
        """A row for each file. `probabilities`: `N × K`."""
        for path, row in zip(files, probabilities, strict=True):
            likeliest = np.argsort(-row, kind="stable")[: self._top]
            told = [text for at in likeliest for text in (self._classes[int(at)], f"{row[at]:.4f}")]
            every = [f"{share:.4f}" for share in row] if self._columns.every else []
            self._row([os.fspath(path), *told, *every])

    def _row(self, cells: Sequence[str]) -> None:
        try:
            self._writer.writerow(cells)
            self._stream.flush()
        except OSError as error:
            raise ConfigError(
                f"{self._stream.name} cannot be written: {error.strerror}.",
                "make room, or choose another --out FILE.csv",
            ) from None


def part_of(out: Path) -> Path:
    """Where a table lies until it is whole."""
    return out.with_name(f"{out.name}.part")


@contextmanager
def opened(out: Path | None) -> Iterator[TextIO]:
    """A stream for the table, before any work is done; file names of any bytes can be written to it.

    A file appears under its name when it is whole; what an earlier one holds is kept until then. What is not whole
    stays in `FILE.part`. Raises `ConfigError` if it cannot be written.
    """
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")
        yield sys.stdout
        return
    special = out.exists() and not out.is_file()  # a pipe, a device: nothing can be put in its place
    target = out if special else part_of(out)
    try:
        if out.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        # On each system its own line ends, as text files have them there.
        stream = target.open("w", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", "choose another --out FILE.csv") from None
    try:
        yield stream
    except BaseException:
        with suppress(OSError):  # what could not be written cannot be written now either
            stream.close()
        if not special and target.read_bytes().count(b"\n") <= 1:
            target.unlink()  # it holds no image
        raise
    stream.close()
    if not special:
        target.replace(out)
