"""What a source of images hands over: labels, the splits it brings, and a way to read one image after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from improve.config.places import expanded
from improve.config.schema import DatasetConfig
from improve.datasets.findings import Finding
from improve.pipeline.template.images import Picture, Preparation

# Parts of a prepared dataset, as numbers in arrays.
TRAIN: Final = 0
SELECTION: Final = 1
TEST: Final = 2
UNUSED: Final = -1
FREE: Final = -2  # the source leaves it open: our split decides
PARTS: Final = ("train", "selection", "test")

# What people call a split that comes with the images, in lower case. "eval" may be either: see `settled`.
SPLIT_NAMES: Final = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "holdout": "test",
    "eval": "eval",
    "evaluation": "eval",
}


@dataclass(frozen=True)
class Raw:
    """One image as its source has it: the decoded picture, and a hash (32 bytes) that only equal originals share.

    `size`: bytes of its file; 0 where it has none.
    """

    picture: Picture
    digest: bytes
    size: int = 0


@dataclass(frozen=True)
class Terms:
    """How people change what a source has, as parts of sentences."""

    remove: str = "leave it out"  # a class
    unsplit: str = "give the images without splits"


PLAIN: Final = Terms()


@dataclass(frozen=True)
class Source:
    """N labelled images that can be read one by one, from several threads at once.

    `labels`: N class numbers. `parts`: N of `TRAIN`, `SELECTION`, `TEST` or `FREE`. `size`: height and width in pixels
    if the configuration asks for none; for images in files instead `shapes`, those of some of them (M × 2). `read(row,
    to)` gives an image that will be prepared like that; it may raise `UnreadableImage`. `name(row)` is what people call
    that image. `findings`: what they should know, a sentence each if it is only a note, without anything about single
    images of the selection and test splits.
    `threads`: whether reading gains from several (files), or would only wait for the interpreter's lock (small arrays).
    `groups`: N names of what belongs together (a patient, a writer), so that the same group never straddles splits;
    "" for an image of no group, None: no groups. `strata`: N names of the kinds of test images whose accuracy is worth
    telling apart (a corruption), "" for the other images; None: no such kinds.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    parts: np.ndarray
    read: Callable[[int, Preparation], Raw]
    name: Callable[[int], str]
    size: tuple[int, int] = (0, 0)
    shapes: np.ndarray | None = None
    findings: tuple[str | Finding, ...] = ()
    threads: bool = True
    groups: list[str] | None = None
    strata: list[str] | None = None
    terms: Terms = PLAIN


@dataclass(frozen=True)
class Downloads:
    """Where a source keeps what it downloads, unless `dataset.path` says so, and who is told how far it is."""

    folder: Path
    progress: Callable[[str], None] = lambda text: None

    def root(self, config: DatasetConfig, name: str) -> Path:
        """The folder of the source `name`: the user's `dataset.path`, else one below `folder`."""
        return expanded(config.path) if config.path else self.folder / name


def settled(names: Collection[str]) -> dict[str, str]:
    """What each of the split names found ("train", "val", "test", "eval") stands for: "eval" is the test set if there

    is no other, else the validation set.
    """
    evaluation = "val" if "test" in names else "test"
    return {name: evaluation if name == "eval" else name for name in names}


def given_part(name: str, names: Collection[str]) -> int:
    """The part that the images of the split `name` belong to; `names` are all that are given ("train", "val", "test").

    The paper's rule (section 4.1): a given test set is the test set; else a given validation set is; else 80/20.
    """
    if name == "test" or (name == "val" and "test" not in names):
        return TEST
    if name == "val":
        return SELECTION
    return TRAIN if len(names) > 1 else FREE


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    parts: np.ndarray | None = None,
    findings: Sequence[str | Finding] = (),
) -> Source:
    """A source of images that lie in memory: N × H × W (grey) or N × H × W × 3 uint8, and N class numbers."""

    def read(row: int, to: Preparation) -> Raw:
        pixels = images[row]
        picture = Picture(Image.fromarray(pixels), pixels.shape[0], pixels.shape[1], "array")
        return Raw(picture, hashlib.blake2b(pixels.tobytes(), digest_size=32).digest())

    return Source(
        class_names=tuple(class_names),
        labels=labels.astype(np.int64),
        parts=np.full(len(labels), FREE) if parts is None else parts,
        size=(images.shape[1], images.shape[2]),
        read=read,
        name=lambda row: f"image {row}",
        findings=tuple(findings),
        threads=False,
    )
