"""Training images for `train.py` when it runs alone: the run's own arrays, or one folder of images for each class."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from context import Context
from images import Preparation, find_images, load_image


def training_data(given: Path | None, here: Path, context: Context, out: Path) -> tuple[Path, Context]:
    """A folder with `images.npy` and `labels.npy`, and the context of its task: `given`, the run's, or one made in
    `out` from class folders. Folders of other classes than the run's make another task, with classes of their names."""
    if given is None:
        recorded = Path(json.loads((here / "context.json").read_text()).get("train_data", ""))
        if not (recorded / "images.npy").exists():
            sys.exit(f"the run's training images are not at {recorded}: give --data DIR (one folder for each class)")
        return recorded, context
    if (given / "images.npy").exists():
        return given, context
    classes = context.classes
    if not all((given / name).is_dir() for name in classes):
        classes = tuple(sorted(f.name for f in given.iterdir() if f.is_dir() and not f.name.startswith(".")))
        if len(classes) < 2:
            sys.exit(f"{given} has not one folder of images for each of at least two classes")
    to = Preparation.of(vars(context))
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in find_images([given / name]):
            images.append(load_image(path, to))
            labels.append(label)
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        sys.exit(f"{given / classes[int(counts.argmin())]} has no images")
    pixels = np.stack(images)
    np.save(out / "images.npy", pixels)
    np.save(out / "labels.npy", np.asarray(labels, dtype=np.int64))
    context = context.replace(train_images=len(pixels), images_per_class=tuple(counts.tolist()))
    if classes != context.classes:
        values = pixels.reshape(-1, context.channels) / 255
        mean, std = values.mean(axis=0), values.std(axis=0).clip(1e-3)
        context = context.replace(classes=classes, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    return out, context
