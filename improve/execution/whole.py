"""What a refit trains on: all images but the test images, as one folder of training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset

ROWS = 4096  # copied at once


def write_whole(dataset: Dataset, folder: Path) -> None:
    """Images and labels of train and selection, one after the other, as in `Dataset.train_folder`."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # the sandbox may read it as another user
    parts = [np.load(split / "images.npy", mmap_mode="r") for split in folders(dataset)]
    shape = (sum(map(len, parts)), *parts[0].shape[1:])
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=parts[0].dtype, shape=shape)
    done = 0
    for part in parts:
        for start in range(0, len(part), ROWS):
            some = part[start : start + ROWS]
            images[done : done + len(some)] = some
            done += len(some)
    images.flush()
    np.save(folder / "labels.npy", labels(dataset))


def folders(dataset: Dataset) -> tuple[Path, Path]:
    return dataset.train_folder, dataset.inputs_folder("selection")


def labels(dataset: Dataset) -> np.ndarray:
    return np.concatenate([np.load(dataset.train_folder / "labels.npy"), dataset.labels("selection")])


def whole_context(context: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The context of a refit: as many epochs as before, so more steps and seconds."""
    more = 1 + dataset.counts["selection"] / dataset.counts["train"]
    return {
        **context,
        "refit": True,
        "train_images": dataset.counts["train"] + dataset.counts["selection"],
        "images_per_class": np.bincount(labels(dataset), minlength=len(dataset.class_names)).tolist(),
        "fit_seconds": context["fit_seconds"] * more,
        "steps": round(context["steps"] * more),
    }
