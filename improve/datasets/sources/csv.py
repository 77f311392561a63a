"""A table of images, one row an image: a column of paths, one of class names, perhaps one of splits and one of groups.

Relative paths start at the table's folder. Given splits follow the paper's rule, as those of `dataset=folder` do.
Images of one group (a patient, a writer, a burst of photos) never straddle splits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.files import state
from improve.datasets.source import SPLIT_NAMES, Downloads, Source, given_part
from improve.datasets.table import Table, check_files, checked, read_table, source_of
from improve.errors import DataError

PATH_COLUMN = "path"


def key(config: DatasetConfig, downloads: Downloads) -> str:
    """The table and the names, sizes and times of its files. Raises `DataError` for a table that cannot be used."""
    table = _table(config)
    paths = _paths(table, config)
    check_files(paths, config)
    table.column(config.label_column, "dataset.label_column")
    _splits(table, config)
    _groups(table, config)
    return state([table.path.absolute(), *(path.absolute() for path in paths)])


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    table = _table(config)
    names = table.column(config.label_column, "dataset.label_column")
    splits = _splits(table, config)
    given = set(splits or ())
    parts = [given_part(split, given) for split in splits] if splits else None
    return source_of(_paths(table, config), names, config, parts, _unused(table, config), _groups(table, config))


def _table(config: DatasetConfig) -> Table:
    path = Path(config.path or "").expanduser()
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        hint = f"give the table itself, for instance dataset.path={found[0]}" if found else "it holds no .csv file"
        raise DataError(f"dataset.path={config.path} is a folder, not a table.", hint)
    return read_table(path)


def _paths(table: Table, config: DatasetConfig) -> list[Path]:
    cells = table.column(config.path_column or PATH_COLUMN, "dataset.path_column")
    return [table.path.parent / Path(cell).expanduser() for cell in cells]


def _splits(table: Table, config: DatasetConfig) -> list[str] | None:
    """Which of "train", "val" and "test" each row is; None if the table does not say."""
    if not config.split_column:
        return None
    cells = [cell.lower() for cell in table.column(config.split_column, "dataset.split_column")]
    checked(cells, SPLIT_NAMES.__contains__, f"column {config.split_column!r}", ("train", "val", "test"))
    splits = [SPLIT_NAMES[cell] for cell in cells]
    if "train" not in splits:
        raise DataError(
            f"No row of {table.path} is marked 'train' in column {config.split_column!r}.",
            "mark the training images, or leave the split to improve: dataset.split_column=null",
        )
    return splits


def _groups(table: Table, config: DatasetConfig) -> list[str] | None:
    return table.column(config.group_column, "dataset.group_column") if config.group_column else None


def _unused(table: Table, config: DatasetConfig) -> list[str]:
    used = (config.path_column or PATH_COLUMN, config.label_column, config.split_column, config.group_column)
    unused = [column for column in table.columns if column not in used]
    return [f"columns of the table that are not used: {', '.join(unused)}"] if unused else []
