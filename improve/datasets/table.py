"""Tables of images: CSV files with a path or a number, a class, and perhaps a split and a group for each image."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.files import from_files, shown
from improve.datasets.findings import Finding
from improve.datasets.source import FREE, PLAIN, Source, Terms
from improve.datasets.tree import setting
from improve.errors import DataError, nearest
from improve.pipeline.template.images import is_image

DELIMITERS = ",;\t|"
# What is no table as text, by how its file begins, and what to do with it.
OTHER_FORMS = (
    (b"PK\x03\x04", "is an Excel workbook or an archive", "save its sheet as CSV, in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook", "save its sheet as CSV, in UTF-8"),
    (b"PAR1", "is a Parquet table", "write it as CSV; one that holds the images themselves is read with dataset=hub"),
    (b"\x1f\x8b", "is compressed", "unpack it: gunzip -k {}"),
    (b"[", "is JSON", "write it as CSV, with a row for each image"),
    (b"{", "is JSON", "write it as CSV, with a row for each image"),
)
NAMED = 20  # tables that a message proposes
EXAMPLES = 5  # files and lines named in a message


@dataclass(frozen=True)
class Table:
    """A CSV file: the names of its columns, its rows, each as long as `columns`, and their numbers in the file."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    @property
    def name(self) -> str:
        return shown(str(self.path))

    def cells(self, name: str, key: str) -> list[str]:
        """The cells of a column, without spaces around them. Raises `DataError` that names `key` and the columns."""
        if name not in self.columns:
            raise DataError(f"{key}={name}: {self.name} has no such column.", nearest(name, self.columns))
        if self.columns.count(name) > 1:
            raise DataError(f"{self.name} has {self.columns.count(name)} columns called {name!r}.", "rename the others")
        number = self.columns.index(name)
        return [row[number].strip() for row in self.rows]

    def column(self, name: str, key: str) -> list[str]:
        """`cells`, of which none may be empty. Raises `DataError`."""
        cells = self.cells(name, key)
        empty = [line for line, cell in zip(self.lines, cells, strict=True) if not cell]
        if empty:
            raise DataError(f"{self.lacking(empty, name)}.", "fill them in or remove these rows")
        return cells

    def lacking(self, lines: Sequence[int], column: str) -> str:
        """A sentence about rows that have nothing in a column."""
        some = f"row {', '.join(map(str, lines[:EXAMPLES]))}{', …' if len(lines) > EXAMPLES else ''}"
        return f"{len(lines):,} of {len(self.rows):,} rows of {self.name} have nothing in column {column!r} ({some})"

    def without(self, rows: Collection[int]) -> Table:
        """The table without these rows (counted from 0)."""
        left = [number for number in range(len(self.rows)) if number not in rows]
        return Table(
            self.path, self.columns, [self.rows[number] for number in left], [self.lines[number] for number in left]
        )


def read_table(path: Path) -> Table:
    """The table in a CSV file, its first row the names, separated by comma, semicolon, tab or bar. `DataError`.

    It is UTF-8, or UTF-16 that says so; a first line "sep=;", as Excel writes it, is no row.
    """
    name = shown(str(path))
    text = _text(path)
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r"sep=(.)", first.strip())
    text, first = (rest, "") if declared else (text, first)
    delimiter = declared[1] if declared else max(DELIMITERS, key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{name} is no CSV file that can be read ({error}).", "save it as CSV in UTF-8") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if rows and any(is_image(cell.strip()) for cell in rows[0]):
        names = delimiter.join(["path", "label", *(f"column{n}" for n in range(3, len(rows[0]) + 1))][: len(rows[0])])
        raise DataError(
            f"{name} has no names of columns: its first row is an image ({delimiter.join(rows[0])[:80]!r}).",
            f"put names above it, for instance: sed -i {shlex.quote(f'1i {names}')} {shlex.quote(str(path))}",
        )
    if len(rows) < 2:
        raise DataError(f"{name} has no rows below its header.", "give a row for each image")
    columns = [column.strip() for column in rows[0]]
    odd = [line for line, row in enumerate(rows[1:], start=2) if len(row) != len(columns)]
    if odd:
        raise DataError(
            f"{len(odd):,} of {len(rows) - 1:,} rows of {name} do not have the header's {len(columns)} columns "
            f"(first: row {odd[0]}).",
            "put values that hold a separator into quotes",
        )
    return Table(path, columns, rows[1:], list(range(2, len(rows) + 1)))


def _text(path: Path) -> str:
    """What a table's file holds. Raises `DataError` for what is no text, by what it seems to be."""
    name = shown(str(path))
    try:
        content = path.read_bytes()
    except OSError as error:
        beside = sorted(one.name for one in path.parent.glob("*") if one.suffix.lower() in (".csv", ".tsv", ".txt"))
        near = f": {nearest(path.name, beside[:NAMED])}" if beside else f": {shown(str(path.parent))} holds no table"
        raise DataError(f"{name} cannot be opened ({error.strerror}).", f"check dataset.path{near}") from error
    for beginning, what, fix in OTHER_FORMS:
        if content.startswith(beginning):
            raise DataError(f"{name} {what}, not a table as text.", fix.format(shlex.quote(str(path))))
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        better = path.with_name(f"{path.stem}-utf8{path.suffix}")
        raise DataError(
            f"{name} is no UTF-8 text (byte {error.start:,}).",
            f"save it as CSV in UTF-8; where Excel wrote it in Western Europe: iconv -f WINDOWS-1252 -t UTF-8 "
            f"{shlex.quote(str(path))} > {shlex.quote(str(better))}, and {setting('dataset.path', better)}",
        ) from error


def source_of(
    paths: Sequence[Path],
    names: Sequence[str],
    config: DatasetConfig,
    parts: Sequence[int] | None = None,
    findings: Sequence[str | Finding] = (),
    groups: list[str] | None = None,
    terms: Terms = PLAIN,
) -> Source:
    """A source of N image files with their class names. Raises `DataError` for missing files and for a single class."""
    check_files(paths, config)
    names = [unicodedata.normalize("NFC", name) for name in names]
    classes = sorted(set(names))
    if len(classes) == 1:
        raise DataError(f"All images have the same class ({classes[0]!r}), but a classifier needs two.", "add others")
    number = {name: position for position, name in enumerate(classes)}
    labels = [number[name] for name in names]
    return from_files(paths, labels, parts or [FREE] * len(paths), classes, findings, groups, terms)


def check_files(paths: Sequence[Path], config: DatasetConfig, hint: Callable[[], str] = lambda: "") -> None:
    """Raises `DataError` if files are missing, unless unreadable images may be skipped. `hint`: what may find them."""
    missing = [path for path in paths if not path.is_file()]
    if missing and (config.unreadable != "skip" or len(missing) == len(paths)):
        found = hint()
        start = "relative ones start at the table's folder, or at dataset.image_root=DIR"
        skip = ", or leave these rows out with dataset.unreadable=skip" if len(missing) < len(paths) else ""
        raise DataError(
            f"{len(missing):,} of {len(paths):,} image files do not exist: "
            f"{', '.join(shown(str(path)) for path in missing[:EXAMPLES])}{', …' if len(missing) > EXAMPLES else ''}.",
            found or f"correct the paths ({start}){skip}",
        )


def checked(values: Iterable[str], known: Callable[[str], bool], what: str, valid: Iterable[str]) -> None:
    """Raises `DataError` if there are values that are not `known`, with their counts."""
    unknown = Counter(value for value in values if not known(value))
    if unknown:
        found = ", ".join(f"{value!r} ({count:,} rows)" for value, count in unknown.most_common(EXAMPLES))
        raise DataError(f"{what} holds values of no meaning: {found}.", f"use {', '.join(valid)}")
