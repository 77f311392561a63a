"""Fashion-MNIST: 70,000 grey images of clothes, 28 × 28 pixels, 10 classes, by torchvision; its test set is given."""

from __future__ import annotations

from collections.abc import Callable

from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder
from improve.datasets.source import Downloads, Source
from improve.datasets.vision import load_parts, train_and_test

NAME = "fashion_mnist"
BY_HAND = (
    "put its four files, unpacked, into DIR/FashionMNIST/raw and give dataset.path=DIR (Debian's package "
    "dataset-fashion-mnist has them)"
)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    check_folder(config.path)
    return NAME


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    # torchvision takes seconds to import and is needed only when the images are not prepared yet.
    from torchvision.datasets import FashionMNIST

    parts = [{"train": True}, {"train": False}]
    root = downloads.root(config, NAME)
    found = load_parts(FashionMNIST, parts, "Fashion-MNIST", root, BY_HAND, downloads, notify)
    return train_and_test([p.data.numpy() for p in found], [p.targets.numpy() for p in found], found[0].classes)
