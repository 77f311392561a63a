"""4 Animal Classification (Kaggle, 2022): 2,800 labelled photos of cats, deer, dogs and horses.

The files: train/ with a folder for each class, test/ without labels. So the labelled images are divided 80/20.
"""

from __future__ import annotations

from collections.abc import Callable

from improve.config.schema import DatasetConfig
from improve.datasets.competitions import Competition
from improve.datasets.source import Downloads, Source
from improve.datasets.sources.folder import from_folders, key_of, scan

KAGGLE = Competition("animals4", "4-animal-classification", "4 Animal Classification", ("train/train", "train"))


def key(config: DatasetConfig, downloads: Downloads) -> str:
    folder = KAGGLE.check(config, downloads)
    return key_of(scan(folder)) if folder and config.path else KAGGLE.source


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    return from_folders(scan(KAGGLE.get(config, downloads, notify)), config)
