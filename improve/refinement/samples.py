"""Augmented samples of a pipeline's data component, kept as a picture for the page. Nothing depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.datasets.pictures import augmented_sheet, rows_to_augment
from improve.execution.fit import Samples


def wanted(dataset: Dataset) -> np.ndarray:
    """The rows of train that are to be augmented."""
    return rows_to_augment(dataset)


def keep(samples: Samples | None, dataset: Dataset, folder: Path, iteration: int) -> dict[str, Any]:
    """Writes the picture into the run's folder; gives what `records.TrainingRecord` says of it."""
    if samples is None or samples.pixels is None:
        return {"samples": None, "samples_note": samples.problem if samples else ""}
    file = f"samples/augmented-{iteration:03d}.png"
    (folder / file).parent.mkdir(exist_ok=True)
    augmented_sheet(dataset, rows_to_augment(dataset), samples.pixels).save(folder / file)
    return {"samples": file, "samples_note": ""}
