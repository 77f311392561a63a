"""SVHN: 99,289 house numbers, 32 × 32 colour pixels, the digit in the middle, by torchvision; its test set is given.

The 531,131 "extra" images are left out, as in the Visual Task Adaptation Benchmark.
"""

from __future__ import annotations

from collections.abc import Callable

from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder
from improve.datasets.source import Downloads, Source
from improve.datasets.vision import load_parts, train_and_test

NAME = "svhn"
BY_HAND = (
    "get train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers, put them into a folder and "
    "give it as dataset.path=DIR"
)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    check_folder(config.path)
    return NAME


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    # torchvision takes seconds to import and is needed only when the images are not prepared yet.
    from torchvision.datasets import SVHN

    parts = [{"split": "train"}, {"split": "test"}]
    found = load_parts(SVHN, parts, "SVHN", downloads.root(config, NAME), BY_HAND, downloads, notify)
    # torchvision gives channels first, and the digit 0, which the files call 10, as class 0.
    images = [part.data.transpose(0, 2, 3, 1) for part in found]
    return train_and_test(images, [part.labels for part in found], [str(digit) for digit in range(10)])
