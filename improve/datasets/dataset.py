"""A prepared dataset as the rest of improve uses it: arrays on disk, hidden labels, and proof that nothing changed.

The folder of an entry:

    manifest.json                     everything below but the pixels, with the SHA-256 of each file
    train/images.npy, labels.npy      for the pipeline
    selection/images.npy              for the sandbox: blinded, in a random order, nothing else beside it
    test/images.npy
    hidden/selection.npy, test.npy    the labels in that order: for the scorer alone
    hidden/test_strata.npy            the kinds of the test images in that order, where the source tells some apart
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import card
from improve.datasets.findings import Finding
from improve.datasets.store import explained, file_hash, forget_times, write_array
from improve.domain import Split
from improve.errors import DataError

MANIFEST = "manifest.json"
IMAGES = "images.npy"
LABELS = "labels.npy"
HIDDEN = "hidden"
STRATA = "test_strata.npy"


@dataclass(frozen=True)
class Dataset:
    """Equal-sized uint8 images in three splits. A training sees `height × width × channels`; see `stored`."""

    name: str
    description: str
    class_names: tuple[str, ...]
    folder: Path  # in the cache
    fingerprint: str  # SHA-256 over the images, their labels, their split and the rule that prepared them
    height: int
    width: int
    channels: int
    stored: int  # side in pixels of the images in the folder, larger than height and width; 0: the same
    fit: str  # how pictures of other proportions were made to fit: crop, pad or squash
    white: int  # the value that is white in image files of more than 8 bits
    mean: tuple[float, ...]  # per channel, of the training images, in [0, 1]
    std: tuple[float, ...]
    counts: Mapping[str, int]  # images in train, selection and test
    images_per_class: tuple[int, ...]  # in train, in the order of `class_names`
    strata: tuple[str, ...] = ()  # names of the kinds of test images; see `test_strata`
    audit: tuple[Finding, ...] = ()  # what people should know about the images
    card_mode: str = "full"  # "none": the roles are told nothing of the images but their number and shapes
    pretrained: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # weights: mean, std, …
    required_model: str = ""  # timm's name of the architecture that the model must be built on; "": any
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)  # statistics of the training images
    files: Mapping[str, str] = field(default_factory=dict, repr=False)  # relative path → SHA-256
    verified: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)  # see `verify`

    @property
    def findings(self) -> tuple[str, ...]:
        """The audit's sentences, without examples: part of the card."""
        return tuple(finding.what for finding in self.audit)

    @property
    def details(self) -> tuple[str, ...]:
        """Examples to the findings, with file names and classes: for people only."""
        return tuple(example for finding in self.audit for example in finding.examples)

    @property
    def train_folder(self) -> Path:
        """images.npy (N × H × W × C uint8) and labels.npy (N int64)."""
        return self.folder / "train"

    def inputs_folder(self, split: Split) -> Path:
        """images.npy alone (N × H × W × C uint8), its rows in a random order."""
        return self.folder / split

    def labels(self, split: Split) -> np.ndarray:
        """The hidden labels (N int64), in the order of the rows of `inputs_folder(split)`."""
        return np.asarray(np.load(self.folder / HIDDEN / f"{split}.npy"), dtype=np.int64)

    def test_strata(self) -> list[str] | None:
        """The kind of each test image (a corruption), in the order of `labels("test")`; None if there are no kinds.

        As hidden as the labels: for reports after the test split was scored.
        """
        if not self.strata:
            return None
        return [self.strata[number] for number in np.load(self.folder / HIDDEN / STRATA)]

    def write_subset(self, split: Split, rows: np.ndarray, target: Path) -> None:
        """Makes the folder `target` with an images.npy of these rows of a split, in this order."""
        with explained(target):
            target.mkdir(parents=True, exist_ok=True)
            images = np.load(self.inputs_folder(split) / IMAGES, mmap_mode="r")
            write_array(target / IMAGES, images, np.asarray(rows, dtype=np.int64))
            forget_times([target / IMAGES, target])

    def verify(self) -> None:
        """Raises `DataError` if a file is missing, changed or new. The first call reads all files; a later one reads

        those whose state (inode, size, times) is another: the kernel sets the time of change, nobody can set it back.
        """
        found = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}
        changed = sorted((found ^ set(self.files)) - {MANIFEST})
        changed += [name for name in sorted(self.files) if name in found and self._changed(name)]
        if changed:
            raise DataError(
                f"Prepared images of {self.name} have changed on disk: {', '.join(changed[:3])} in {self.folder}.",
                f"remove that folder (rm -r '{self.folder}') and start again: it is prepared anew",
            )

    def _changed(self, name: str) -> bool:
        path = self.folder / name
        status = path.lstat()
        state = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self.verified.get(name) == state:
            return False
        if path.is_symlink() or file_hash(path) != self.files[name]:
            return True
        self.verified[name] = state
        return False

    def card(self) -> str:
        """The dataset card: what the roles are told, as YAML; "" if `card_mode` is none. Of hidden labels, nothing."""
        return card.text(self) if self.card_mode == "full" else ""

    def record(self) -> dict[str, Any]:
        """What the journal keeps, JSON-able."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "class_names": list(self.class_names),
            "counts": dict(self.counts),
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "stored": self.stored,
            "fit": self.fit,
            "mean": list(self.mean),
            "std": list(self.std),
            "findings": list(self.findings),
        }


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of what decides results: the files' content, the class names and the preparation rule."""
    decisive = {key: manifest[key] for key in ("rule", "class_names", "height", "width", "channels", "files")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def open_dataset(folder: Path, name: str, description: str) -> Dataset:
    """The dataset in a cache entry, verified. Raises `DataError` if it is damaged."""
    damaged = DataError(
        f"The prepared images in {folder} are damaged: {MANIFEST} cannot be read.",
        f"remove that folder (rm -r '{folder}') and start again: it is prepared anew",
    )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        dataset = Dataset(
            name=name,
            description=description,
            folder=folder,
            fingerprint=fingerprint(manifest),
            class_names=tuple(manifest["class_names"]),
            height=manifest["height"],
            width=manifest["width"],
            channels=manifest["channels"],
            stored=manifest["stored"],
            fit=manifest["fit"],
            white=manifest["white"],
            mean=tuple(manifest["mean"]),
            std=tuple(manifest["std"]),
            counts=manifest["counts"],
            images_per_class=tuple(manifest["images_per_class"]),
            strata=tuple(manifest["strata"]),
            audit=tuple(Finding.from_dict(values) for values in manifest["audit"]),
            facts=manifest["facts"],
            files=manifest["files"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged from error
    dataset.verify()
    return dataset
