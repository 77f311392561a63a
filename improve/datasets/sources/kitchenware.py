"""Kitchenware (Kaggle, 2022): photos of cups, glasses, plates, spoons, forks and knives.

The files: train.csv (Id, label), images/ (0001.jpg, … of the training and of the test images). The test images have no
labels, so the training images are divided 80/20.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.competitions import Competition
from improve.datasets.files import state
from improve.datasets.source import Downloads, Source
from improve.datasets.table import read_table, source_of

KAGGLE = Competition("kitchenware", "kitchenware-classification", "Kitchenware Classification", ("train.csv",))
DIGITS = 4  # of a file's number


def key(config: DatasetConfig, downloads: Downloads) -> str:
    table = KAGGLE.check(config, downloads)
    return state(_files(table)) if table and config.path else KAGGLE.source


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    path = KAGGLE.get(config, downloads, notify)
    return source_of(_files(path)[1:], read_table(path).column("label", "column"), config)


def _files(table: Path) -> list[Path]:
    """The table and its images. Spreadsheets drop leading zeros, so they are put back."""
    numbers = read_table(table).column("Id", "column")
    return [table, *(table.parent / "images" / f"{number.zfill(DIGITS)}.jpg" for number in numbers)]
