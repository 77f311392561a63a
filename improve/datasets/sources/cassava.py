"""Cassava Leaf Disease (Kaggle, 2020): 21,397 photos of leaves, 5 classes. Its test set is hidden, so 80/20.

The files: train.csv (image_id, label 0…4), train_images/, label_num_to_disease_map.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.competitions import Competition
from improve.datasets.files import state
from improve.datasets.source import Downloads, Source
from improve.datasets.table import checked, read_table, source_of
from improve.errors import DataError

KAGGLE = Competition(
    "cassava", "cassava-leaf-disease-classification", "Cassava Leaf Disease Classification", ("train.csv",)
)
CLASS_NAMES = "label_num_to_disease_map.json"


def key(config: DatasetConfig, downloads: Downloads) -> str:
    table = KAGGLE.check(config, downloads)
    return state(_files(table)) if table and config.path else KAGGLE.source


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    path = KAGGLE.get(config, downloads, notify)
    try:
        names = json.loads((path.parent / CLASS_NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.parent / CLASS_NAMES} cannot be read ({error}).", KAGGLE.by_hand) from error
    labels = read_table(path).column("label", "column")
    checked(labels, names.__contains__, "column 'label'", names)
    return source_of(_files(path)[1:], [names[label] for label in labels], config)


def _files(table: Path) -> list[Path]:
    """The table and its images."""
    return [table, *(table.parent / "train_images" / name for name in read_table(table).column("image_id", "column"))]
