"""A table of images, one row an image: a column of paths, one of class names, perhaps one of splits and one of groups.

`improve/datasets/paths.py` says which paths are understood. Given splits follow the paper's rule, as those of
`dataset=folder` do. Images of one group (a patient, a writer, a burst of photos) never straddle splits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from improve.config.overrides import in_quotes
from improve.config.places import expanded
from improve.config.schema import DatasetConfig
from improve.datasets.files import state
from improve.datasets.findings import Finding
from improve.datasets.labels import MISSING, check_classes, is_missing, is_number
from improve.datasets.paths import hint, resolved
from improve.datasets.source import SPLIT_NAMES, Downloads, Source, Terms, given_part, settled
from improve.datasets.table import Table, check_files, checked, read_table, source_of
from improve.datasets.tree import setting
from improve.errors import DataError, nearest
from improve.pipeline.template.images import is_image

PATH_COLUMN, LABEL_COLUMN = "path", "label"
ONES, ZEROS = ("1", "1.0", "true"), ("0", "0.0", "false")
FEWEST_ROWS = 8  # from which a table can tell what its columns are
MOST_OPTIONS = 5  # columns that a message proposes
RANGES = "write a class for each range of the numbers into a column of its own: dataset.label_column=NAME"


@dataclass
class Rows:
    """What the rows of a table with a label say; all lists have one entry a row."""

    table: Table
    paths: list[Path]
    cells: list[str]  # of the path column
    names: list[str]  # of classes
    splits: list[str] | None
    groups: list[str] | None
    findings: list[str | Finding] = field(default_factory=list)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    """The table and the names, sizes and times of its files. Raises `DataError` for a table that cannot be used."""
    rows = _read(config)
    return state([rows.table.path.absolute(), *(path.absolute() for path in rows.paths)])


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    rows = _read(config)
    given = set(rows.splits or ())
    parts = [given_part(split, given) for split in rows.splits] if rows.splits else None
    terms = Terms(f"remove its rows from {rows.table.name}", "dataset.split_column=null")
    return source_of(rows.paths, rows.names, config, parts, rows.findings, rows.groups, terms)


def _read(config: DatasetConfig) -> Rows:
    table = _table(config)
    _check_columns(table, config)
    table, dropped = _with_labels(table, config)
    names = _labels(table, config)
    odd = _odd_names(names, table, config)
    splits = _splits(table, config)
    cells = table.column(config.path_column or PATH_COLUMN, "dataset.path_column")
    paths = resolved(cells, config, table.path)
    groups = table.column(config.group_column, "dataset.group_column") if config.group_column else None
    check_files(paths, config, lambda: hint(_missing(cells, paths), config, table.path))
    return Rows(table, paths, cells, names, splits, groups, [*_unused(table, config), *dropped, *odd])


def _missing(cells: list[str], paths: list[Path]) -> list[str]:
    return [cell for cell, path in zip(cells, paths, strict=True) if not path.is_file()]


def _table(config: DatasetConfig) -> Table:
    path = expanded(config.path or "")
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        folders = f"it holds no .csv file; class folders are read with dataset=folder {setting('dataset.path', path)}"
        fix = f"give the table itself, for instance {setting('dataset.path', found[0])}" if found else folders
        raise DataError(f"dataset.path={config.path} is a folder, not a table.", fix)
    return read_table(path)


def _check_columns(table: Table, config: DatasetConfig) -> None:
    """Raises `DataError` for columns that the table does not have, with those that it may be instead."""
    paths = config.path_column or PATH_COLUMN
    if paths not in table.columns:
        likely = [name for name in table.columns if any(map(is_image, table.cells(name, "")))]
        raise _no_column(table, "path_column", paths, PATH_COLUMN, "of image files", likely)
    if config.label_columns or config.label_column in table.columns:
        return
    one_hot = _one_hot(table)
    if one_hot and all(sum(row) <= 1 for row in _ticked(table, one_hot)):
        raise DataError(
            f"{table.name} has no column {config.label_column!r}, but {len(one_hot)} columns of 0 and 1: one for each "
            "class (one-hot).",
            f"give them: {setting('dataset.label_columns', '[' + ','.join(map(_item, one_hot)) + ']')}",
        )
    if one_hot:
        choices = " or ".join(setting("dataset.label_column", name) for name in one_hot[:MOST_OPTIONS])
        raise DataError(
            f"{table.name} has no column {config.label_column!r}, but {len(one_hot)} columns of 0 and 1, several of "
            "which are 1 in the same row: each image needs one class.",
            f"choose what to learn, for instance {choices}",
        )
    raise _no_column(
        table, "label_column", config.label_column, LABEL_COLUMN, "of classes", _like_labels(table, config)
    )


def _no_column(table: Table, key: str, name: str, default: str, what: str, likely: list[str]) -> DataError:
    proposed = " or ".join(setting(f"dataset.{key}", column) for column in likely[:MOST_OPTIONS])
    valid = nearest(name, table.columns)
    fix = f"{proposed} ({_names(table)})" if proposed else f"name the column {what}: dataset.{key}=NAME; {valid}"
    if name == default:
        return DataError(f"{table.name} has no column {name!r}.", fix)
    return DataError(f"dataset.{key}={name}: {table.name} has no such column.", fix)


def _names(table: Table) -> str:
    return f"valid: {', '.join(sorted(filter(None, table.columns)))}"


def _one_hot(table: Table) -> list[str]:
    """The columns of 0 and 1, if there are several."""
    valid = {*ONES, *ZEROS}
    found = [name for name in table.columns if {cell.lower() for cell in table.cells(name, "")} <= valid]
    return found if len(found) > 1 else []


def _item(name: str) -> str:
    """A name as an item of a list on the command line: in quotes only where it needs them."""
    return name if re.fullmatch(r"\w([\w .-]*[\w.-])?", name) and name.lower() != "null" else in_quotes(name)


def _ticked(table: Table, columns: list[str]) -> list[list[bool]]:
    """Which of the columns each row has a 1 in."""
    cells = [table.cells(name, "dataset.label_columns") for name in columns]
    known = {*ONES, *ZEROS, ""}
    for name, column in zip(columns, cells, strict=True):
        checked(column, lambda cell: cell.lower() in known, f"column {name!r} of dataset.label_columns", ("0", "1"))
    return [[cell.lower() in ONES for cell in row] for row in zip(*cells, strict=True)]


def _like_labels(table: Table, config: DatasetConfig) -> list[str]:
    """Columns whose values repeat, as class names do."""
    used = (config.path_column or PATH_COLUMN, config.split_column, config.group_column)
    found = []
    for name in table.columns:
        values = set(table.cells(name, ""))
        is_split = {value.lower() for value in values} <= set(SPLIT_NAMES)
        if name not in used and not is_split and 2 <= len(values) <= max(2, len(table.rows) // 4):
            found.append(name)
    return found


def _labels(table: Table, config: DatasetConfig) -> list[str]:
    """The class name of each row; "" where there is none. Raises `DataError` for rows with several."""
    if not config.label_columns:
        return table.cells(config.label_column, "dataset.label_column")
    ticked = _ticked(table, config.label_columns)
    several = [line for line, row in zip(table.lines, ticked, strict=True) if sum(row) > 1]
    if several:
        raise DataError(
            f"{len(several):,} of {len(ticked):,} rows of {table.name} have more than one 1 in dataset.label_columns "
            f"(first: row {several[0]}): each image needs one class.",
            "remove these rows, or give the columns of classes that exclude each other",
        )
    return [config.label_columns[row.index(True)] if any(row) else "" for row in ticked]


def _with_labels(table: Table, config: DatasetConfig) -> tuple[Table, list[Finding]]:
    """The rows that have a label, and what to say of the others. Raises `DataError` unless they may be left out.

    A split that has no labels at all is left out as it is: a competition's test images.
    """
    names = _labels(table, config)
    empty = {row for row, name in enumerate(names) if not name}
    column = " or ".join(config.label_columns) or config.label_column
    if config.unlabelled == "skip":
        if "missing_labels" in config.accept:
            lacking = empty
        else:
            lacking = {row for row, name in enumerate(names) if is_missing(name)}
        if len(lacking) == len(names):
            raise DataError(f"No row of {table.name} has a label in column {column!r}.", "choose another column")
        what = f"rows of the table without a label, left out: {len(lacking):,} of {len(names):,}"
        found = [Finding("unlabelled", "warning", what, "fill in their labels")] if lacking else []
        return table.without(lacking), found
    splits = _splits(table, config) or [""] * len(names)
    hidden = {split for split in set(splits) if split not in ("", "train")}
    hidden = {split for split in hidden if all(row in empty for row, one in enumerate(splits) if one == split)}
    unlabelled = {row for row, split in enumerate(splits) if split in hidden}
    if empty - unlabelled:
        lines = [table.lines[row] for row in sorted(empty - unlabelled)]
        fix = "fill them in, or leave these rows out: dataset.unlabelled=skip"
        raise DataError(f"{table.lacking(lines, column)}.", fix)
    if not unlabelled:
        return table, []
    what = f"the rows marked {' and '.join(sorted(hidden))} have no label: {len(unlabelled):,} images, not used"
    fix = "the card of a finished run names the command that predicts their classes"
    return table.without(unlabelled), [Finding("unlabelled", "note", what, fix)]


def _odd_names(names: list[str], table: Table, config: DatasetConfig) -> list[Finding]:
    """Labels that nobody meant as class names. Raises `DataError` unless they are accepted."""
    counts = Counter(names)
    column = config.label_column
    where = f"column {column!r} of {table.name}" if not config.label_columns else f"{table.name}"
    others = [setting("dataset.label_column", name) for name in _like_labels(table, config) if name != column]
    proposed = (
        f"choose another column, for instance {' or '.join(others[:MOST_OPTIONS])}"
        if others
        else ("choose another column with dataset.label_column=NAME")
    )
    if len(counts) > len(names) / 2 and len(names) >= FEWEST_ROWS:
        quantities = all(is_number(name) for name in counts)
        raise DataError(
            f"The {where} has {len(counts):,} different {'numbers' if quantities else 'values'} in {len(names):,} "
            f"rows: these are {'quantities, not' if quantities else 'no'} classes.",
            f"{RANGES}; or {proposed}" if quantities else proposed,
        )
    fixes = {
        "missing_labels": f"fill in these cells, or leave their rows out: dataset.unlabelled=skip ({_codes()})",
        "similar_classes": f"write each class in one way in {where}",
        "numeric_labels": f"{RANGES}{f'; or {proposed}' if others else ''}",
        "several_labels": f"keep one label a row in {where}",
    }
    return check_classes(counts, config, where, fixes)


def _codes() -> str:
    return f"these texts count as missing: {', '.join(sorted(text for text in MISSING if text))}"


def _splits(table: Table, config: DatasetConfig) -> list[str] | None:
    """Which of "train", "val" and "test" each row is; None if the table does not say."""
    if not config.split_column:
        return None
    cells = [cell.lower() for cell in table.column(config.split_column, "dataset.split_column")]
    checked(cells, SPLIT_NAMES.__contains__, f"column {config.split_column!r}", ("train", "val", "test"))
    meaning = settled({SPLIT_NAMES[cell] for cell in cells})
    splits = [meaning[SPLIT_NAMES[cell]] for cell in cells]
    if "train" not in splits:
        raise DataError(
            f"No row of {table.name} is marked 'train' in column {config.split_column!r}.",
            "mark the training images, or leave the split to improve: dataset.split_column=null",
        )
    return splits


def _unused(table: Table, config: DatasetConfig) -> list[str | Finding]:
    labels = config.label_columns or [config.label_column]
    used = (config.path_column or PATH_COLUMN, *labels, config.split_column, config.group_column)
    unused = [column for column in table.columns if column and column not in used]
    return [f"columns of the table that are not used: {', '.join(unused)}"] if unused else []
