"""Datasets that torchvision knows: found or downloaded, their checksums verified, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder, fetching
from improve.datasets.source import TEST, TRAIN, Downloads, Source, from_arrays

Arrays = tuple[np.ndarray, np.ndarray]  # N × H × W (grey) or N × H × W × 3 uint8, and N class numbers


@dataclass(frozen=True)
class VisionSource:
    """A dataset whose test images are given.

    `name`: our name of it; `title`: what people call it; `kind`: torchvision's class, which is told the arguments
    `train` for the training images and `test` for the others. `by_hand` says what people can do without a network.
    `arrays` makes arrays of either. `classes`: their names, if torchvision does not know them.
    """

    name: str
    title: str
    kind: str
    by_hand: str
    arrays: Callable[[Any], Arrays]
    train: tuple[tuple[str, Any], ...] = (("train", True),)
    test: tuple[tuple[str, Any], ...] = (("train", False),)
    classes: tuple[str, ...] = ()

    def key(self, config: DatasetConfig, downloads: Downloads) -> str:
        check_folder(config.path)
        return self.name

    def load(self, config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
        """Raises `DataError` if the images are neither there nor to be had."""
        parts = self._parts(config, downloads, notify)
        images, labels = zip(*map(self.arrays, parts), strict=True)
        numbers = [np.full(len(part), number) for number, part in zip((TRAIN, TEST), labels, strict=True)]
        names = self.classes or parts[0].classes
        return from_arrays(np.concatenate(images), np.concatenate(labels), names, np.concatenate(numbers))

    def _parts(self, config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Sequence[Any]:
        # It takes seconds to import and is needed only when the images are not prepared yet.
        from torchvision import datasets

        make, root = getattr(datasets, self.kind), downloads.root(config, self.name)
        arguments = [dict(self.train), dict(self.test)]
        try:
            return [make(str(root), download=False, **part) for part in arguments]
        except RuntimeError:  # torchvision: "Dataset not found or corrupted"
            notify(f"downloading {self.title} to {root}")
        with fetching(self.title, root, self.by_hand, downloads, notify):
            return [make(str(root), download=True, **part) for part in arguments]
