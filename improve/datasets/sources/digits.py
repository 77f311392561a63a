"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8 pixels that come with the library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.source import Downloads, Source, from_arrays

LEVELS = 16  # the library's pixels are 0…16


def key(config: DatasetConfig, downloads: Downloads) -> str:
    return "digits"


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    # scikit-learn takes a second to import and is needed only when the images are not prepared yet.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / LEVELS)).astype(np.uint8)
    return from_arrays(images, digits.target, [str(digit) for digit in range(10)])
