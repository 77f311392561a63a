"""CIFAR-10-C at one severity (`dataset.severity`): CIFAR-10's training images, and its test images, each corrupted.

One of the fifteen corruptions is drawn for each test image, all equally likely (the paper's section 4.1), by
`dataset.split_seed`. The corrupted images come from the official files where they are found (`CIFAR-10-C/*.npy` in
`dataset.path` or among the downloads), else they are made here from CIFAR-10's test images; the card says which.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets.corruptions import NAMES, SIDE, corrupt, draw
from improve.datasets.files import state
from improve.datasets.source import TEST, Downloads, Raw, Source
from improve.datasets.sources import cifar10
from improve.errors import DataError
from improve.pipeline.template.images import Picture, Preparation

LABELS = "labels.npy"
OFFICIAL = "test images: those of the official CIFAR-10-C files"
MADE = (
    "test images: corrupted here from CIFAR-10's test set, with the kinds and strengths of CIFAR-10-C; "
    "not its published pixels"
)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    base = cifar10.key(config, downloads)
    folder = _official(downloads.root(config, cifar10.NAME))
    return f"{base} corrupted {state(sorted(folder.glob('*.npy'))) if folder else 'here'}"


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    clean = cifar10.load(config, downloads, notify)
    severity = config.severity or 1
    tests = np.flatnonzero(clean.parts == TEST)
    number_of = {int(row): number for number, row in enumerate(tests)}
    names = [draw(config.split_seed, number)[0] for number in range(len(tests))]
    folder = _official(downloads.root(config, cifar10.NAME))
    official = _open(folder, severity, clean.labels[tests]) if folder else {}

    def read(row: int, to: Preparation) -> Raw:
        raw = clean.read(row, to)
        number = number_of.get(row)
        if number is None:
            return raw
        name, random = draw(config.split_seed, number)
        if official:
            pixels = np.asarray(official[name][number])
        else:
            pixels = corrupt(np.asarray(raw.picture.image), name, severity, random)
        picture = Picture(Image.fromarray(pixels), SIDE, SIDE, "array")
        return Raw(picture, hashlib.blake2b(pixels.tobytes(), digest_size=32).digest())

    strata = np.full(len(clean.labels), "", dtype=object)
    strata[tests] = names
    findings = (*clean.findings, OFFICIAL if official else MADE)
    return dataclasses.replace(clean, read=read, findings=findings, strata=strata.tolist())


def _official(root: Path) -> Path | None:
    """The folder of the official files, if there is one. Raises `DataError` if some of them are missing."""
    for folder in (root / "CIFAR-10-C", root):
        missing = [name for name in (*(f"{name}.npy" for name in NAMES), LABELS) if not (folder / name).is_file()]
        if not missing:
            return folder
        if len(missing) <= len(NAMES):
            raise DataError(
                f"{folder} holds some files of CIFAR-10-C, but not {', '.join(missing[:5])}.",
                "unpack the whole CIFAR-10-C.tar there, or move its files away to have the images made here",
            )
    return None


def _open(folder: Path, severity: int, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The official test images by corruption, N × 32 × 32 × 3 each. Raises `DataError` if they are not CIFAR-10's."""
    count = len(labels)
    rows = slice((severity - 1) * count, severity * count)
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r")[rows] for name in NAMES}
        given = np.load(folder / LABELS)[rows]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"The files of CIFAR-10-C in {folder} cannot be read ({error}).", "unpack them anew") from error
    wrong = [name for name, array in arrays.items() if array.shape != (count, SIDE, SIDE, 3) or array.dtype != np.uint8]
    if wrong or not np.array_equal(given, labels):
        what = f"{wrong[0]}.npy" if wrong else LABELS
        raise DataError(f"{folder / what} does not belong to CIFAR-10's {count:,} test images.", "unpack them anew")
    return arrays
