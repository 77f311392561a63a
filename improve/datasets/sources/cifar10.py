"""CIFAR-10: 60,000 colour photos of 32 × 32 pixels in 10 classes, by torchvision; its test set is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder
from improve.datasets.source import Downloads, Source
from improve.datasets.vision import load_parts, train_and_test

NAME = "cifar10"
BY_HAND = (
    "get cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, put it into a folder, unpacked or "
    "not, and give that folder as dataset.path=DIR"
)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    check_folder(config.path)
    return NAME


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    # torchvision takes seconds to import and is needed only when the images are not prepared yet.
    from torchvision.datasets import CIFAR10

    parts = [{"train": True}, {"train": False}]
    train, test = load_parts(CIFAR10, parts, "CIFAR-10", downloads.root(config, NAME), BY_HAND, downloads, notify)
    return train_and_test((train.data, test.data), (np.array(train.targets), np.array(test.targets)), train.classes)
