"""How large images are prepared, and what becomes of their proportions: chosen from the images and the time limit.

The side that a training sees is the largest at which it can pass over its images within the time limit, and never
larger than most of the images are. EfficientNet-Lite0 at 128 pixels takes one core 10 milliseconds an image where it is
frozen, 30 where it is trained: 20 stand for both, and the cost grows with the area. Up to 128 pixels one pass will do;
beyond, where more detail gains less, there must be time for four. Images are stored a quarter larger where they are as
large, so that a random crop, resized to what the training sees, shows real detail; not below 64 pixels, where images
are moved rather than cropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from improve.config.schema import DatasetConfig

SIDES = (64, 96, 128, 160, 192, 224)  # pixels
REFERENCE_SIDE, REFERENCE_SECONDS = 128, 0.020  # of one image on one core
PASSES = 4  # over the images that fit in the limit, for a side above the reference's
GPU_FACTOR = 50.0  # that many times faster
STORED = 1.25  # of the side that a training sees
LEAST_LARGER = 1.1  # … below which a larger copy would gain nothing
CROPPED = 1.6  # longer side by shorter side, up to which the middle square shows most of a picture
MOST = 0.9  # share of the images that must have such proportions


@dataclass(frozen=True)
class TimeLimit:
    """Seconds of one training, and whether it has a GPU."""

    seconds: float = 120.0
    gpu: bool = False

    @property
    def rounded(self) -> float:
        """Seconds of one core, to half octaves: a limit that is a little different shall not prepare images anew."""
        seconds = self.seconds * (GPU_FACTOR if self.gpu else 1)
        return float(2 ** (round(2 * math.log2(max(1.0, seconds))) / 2))


@dataclass(frozen=True)
class Size:
    """Height and width in pixels that a training sees; `stored`, the side of the prepared images (0: the same).

    `fit`: what becomes of other proportions (see `template/images.py`). `why`: one sentence, "" if the images
    stay as they are.
    """

    height: int
    width: int
    stored: int = 0
    fit: str = "squash"
    why: str = ""


def chosen(shapes: np.ndarray, config: DatasetConfig, limit: TimeLimit, images: int) -> Size:
    """The size for images in files. `shapes`: heights and widths of some of them (M × 2); `images`: to train on."""
    longer, shorter = shapes.max(axis=1), shapes.min(axis=1)
    if not len(shapes):  # none could be read: all of them will be refused
        longer = shorter = np.array([SIDES[-1]])
    ratio = longer / np.maximum(1, shorter)
    fit = config.fit or ("crop" if float((ratio <= CROPPED).mean()) >= MOST else "pad")
    usual = int(np.median(shorter if fit == "crop" else longer))
    affordable = _affordable(limit, images)
    side = config.image_size or max(1, min(usual, affordable))
    stored = min(usual, round(STORED * side))
    larger = side >= SIDES[0] and stored >= LEAST_LARGER * side
    asked = "as dataset.image_size asks"
    if config.image_size is None:
        asked = "as large as most of the files are" if usual <= affordable else _reason(limit, images)
    kept = f"; kept at {stored} × {stored} for random crops" if larger else ""
    proportions = {
        "crop": "the middle square of each picture",
        "pad": "the whole picture, filled up to a square with the mean colour of its border",
        "squash": "the whole picture, its proportions not kept",
    }[fit]
    share = (
        f" ({float((1 / ratio).mean()):.0%} of it on average)" if fit == "crop" and float(ratio.max()) > 1.01 else ""
    )
    why = f"images are prepared at {side} × {side} pixels, {asked}{kept}: {proportions}{share}"
    unchanged = len(shapes) > 0 and bool((shapes == side).all())
    return Size(side, side, stored if larger else 0, fit, "" if unchanged else why)


def _affordable(limit: TimeLimit, images: int) -> int:
    """The largest of `SIDES` at which a training of so many images fits in the limit; the smallest if none does."""
    area = REFERENCE_SIDE**2 * limit.rounded / (REFERENCE_SECONDS * max(1, images))
    fitting = [side for side in SIDES if (PASSES if side > REFERENCE_SIDE else 1) * side**2 <= area]
    return max(fitting, default=SIDES[0])


def _reason(limit: TimeLimit, images: int) -> str:
    where = "on a GPU" if limit.gpu else "on a CPU"
    return f"a size at which a training of {limit.seconds:g} s {where} can see {images:,} images"
