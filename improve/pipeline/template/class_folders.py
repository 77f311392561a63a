"""Training images for `train.py` when it runs alone: the run's own arrays, or one folder of images for each class."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from context import Context
from images import Preparation, find_images, load_image


def training_folder(given: Path | None, here: Path, context: Context, out: Path) -> Path:
    """A folder with `images.npy` and `labels.npy`: `given`, the run's, or one made in `out` from class folders."""
    if given is None:
        recorded = Path(json.loads((here / "context.json").read_text()).get("train_data", ""))
        if not (recorded / "images.npy").exists():
            sys.exit(f"the run's training images are not at {recorded}: give --data DIR (one folder for each class)")
        return recorded
    if (given / "images.npy").exists():
        return given
    missing = [name for name in context.classes if not (given / name).is_dir()]
    if missing:
        sys.exit(f"{given} lacks the class folders {', '.join(missing[:5])}")
    to = Preparation.of(vars(context))
    images, labels = [], []
    for label, name in enumerate(context.classes):
        for path in find_images([given / name]):
            images.append(load_image(path, to))
            labels.append(label)
    np.save(out / "images.npy", np.stack(images))
    np.save(out / "labels.npy", np.asarray(labels, dtype=np.int64))
    return out
