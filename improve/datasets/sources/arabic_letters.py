"""Arabic Letters (Kaggle, 2023): handwritten letters in 65 forms (isolated, initial, medial, final), by 82 writers.

The files: Final_Arabic_Alpha_dataset/Final_Arabic_Alpha_dataset/train/ with a folder for each class, and test/ without
labels. So the labelled images are divided 80/20, as in the paper, whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Callable

from improve.config.schema import DatasetConfig
from improve.datasets.competitions import Competition
from improve.datasets.source import Downloads, Source
from improve.datasets.sources.folder import from_folders, key_of, scan

INNER = "Final_Arabic_Alpha_dataset"
KAGGLE = Competition(
    "arabic_letters",
    "arabic-letters-classification",
    "Arabic Letters Classification",
    (f"{INNER}/{INNER}/train", f"{INNER}/train", "train"),
)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    folder = KAGGLE.check(config, downloads)
    return key_of(scan(folder)) if folder and config.path else KAGGLE.source


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    return from_folders(scan(KAGGLE.get(config, downloads, notify)), config)
