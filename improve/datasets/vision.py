"""Datasets that torchvision knows: found or downloaded, their checksums verified, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets.fetch import fetching
from improve.datasets.source import TEST, TRAIN, Downloads, Source, from_arrays


def load_parts(
    make: Callable[..., Any],
    parts: Sequence[dict[str, Any]],
    what: str,
    root: Path,
    by_hand: str,
    downloads: Downloads,
    notify: Callable[[str], None],
) -> list[Any]:
    """torchvision's datasets `make(root, **part)` for each of `parts`, downloaded to `root` unless they are there.

    Raises `DataError` if they are neither there nor to be had; `by_hand` says what people can do then.
    """
    try:
        return [make(str(root), download=False, **part) for part in parts]
    except RuntimeError:  # torchvision: "Dataset not found or corrupted"
        notify(f"downloading {what} to {root}")
    with fetching(what, root, by_hand, downloads, notify):
        return [make(str(root), download=True, **part) for part in parts]


def train_and_test(images: Sequence[np.ndarray], labels: Sequence[np.ndarray], class_names: Sequence[str]) -> Source:
    """A source whose training images (first) and test images (second) are given."""
    parts = np.concatenate([np.full(len(part), number) for number, part in zip((TRAIN, TEST), labels, strict=True)])
    return from_arrays(np.concatenate(images), np.concatenate(labels), class_names, parts)
