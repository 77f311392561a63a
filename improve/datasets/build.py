"""From a source to a cache entry: read and resize every image, group equal ones, split, audit, blind, describe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.invocation import install_extra
from improve.config.schema import DatasetConfig
from improve.datasets import card
from improve.datasets.dataset import HIDDEN, IMAGES, LABELS, MANIFEST, STRATA
from improve.datasets.findings import Finding
from improve.datasets.inspection import Evidence, audit
from improve.datasets.near_duplicates import near_pairs
from improve.datasets.progress import Bar
from improve.datasets.sizes import Size, TimeLimit, chosen
from improve.datasets.source import FREE, PARTS, SELECTION, TEST, TRAIN, Source
from improve.datasets.split import Items, given_in_two, order, split, split_in_two, together
from improve.datasets.store import allocate, file_hash, forget_times, write_array
from improve.domain import Split
from improve.errors import DataError
from improve.pipeline.template import images as preparation

BATCH = 16  # images that a thread reads at a time
EXAMPLES = 5  # files named in a message
FACTS = ("height", "width", "format", "mode", "words", "highest")  # that a reading keeps of a picture
CHAINED = 0.25  # share of the images in one group of near-duplicates, from which they say nothing


@dataclass(frozen=True)
class Reading:
    """What became of one image; `error` says why it could not be read, and the rest is then empty."""

    digest: bytes = b""  # of the original
    picture: bytes = b""  # hash of the prepared pixels
    grey: bool = True
    height: int = 0  # of the original, pixels
    width: int = 0
    format: str = ""
    mode: str = ""
    words: str = ""  # in its metadata
    highest: int = 0  # about the largest value, if it has more than 8 bits
    size: int = 0  # of its file, bytes
    blank: bool = False  # one colour
    error: str = ""


@dataclass(frozen=True)
class Readable:
    """The images that could be read: their `rows` in the source (and in `pixels`), and what is known of each."""

    source: Source
    rows: np.ndarray
    readings: list[Reading]
    pixels: np.ndarray  # every row of the source: N × H × W × C uint8
    channels: int

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.source.labels[self.rows])


def fill_entry(
    folder: Path,
    source: Source,
    config: DatasetConfig,
    progress: Callable[[str], None],
    limit: TimeLimit,
    select_on: Split = "selection",
) -> None:
    """Fills the empty `folder` as `improve.datasets.dataset` describes. Raises `DataError`.

    `progress` is told how far it is, some times a second at most. With `select_on="test"` the selection split is the
    test images once more, blinded anew.
    """
    size = _size(source, config, limit)
    height, width = (size.stored, size.stored) if size.stored else (size.height, size.width)
    scratch = folder / "scratch"
    to = preparation.Preparation(height, width, config.channels or 3, size.fit)
    pixels = allocate(scratch, (len(source.labels), height, width, to.channels))
    readings = _read_all(source, range(len(pixels)), pixels, to, progress)
    to = _to_white(source, readings, pixels, to, progress)
    images, unreadable = _readable(source, readings, pixels, config)
    _, pictures = np.unique([reading.picture for reading in images.readings], return_inverse=True)
    near = near_pairs(pixels, images.rows)
    groups = _grouped(images, pictures, near, config)
    digests = [reading.digest for reading in images.readings]
    items = Items(source.class_names, images.labels, groups, digests, source.parts[images.rows], source.terms)
    parts = split(items, config) if select_on == "selection" else split_in_two(items, config)
    given = items.given if select_on == "selection" else given_in_two(items.given)
    found = audit(_evidence(images, items, given, parts, pictures, near), config)
    numbers = {"train": TRAIN, "selection": SELECTION if select_on == "selection" else TEST, "test": TEST}
    rows = {name: _ordered(images, parts, name, part, config.split_seed) for name, part in numbers.items()}
    _write(folder, images, rows)
    strata = _write_strata(folder, images, rows["test"])
    manifest = _describe(images, to, size, rows["train"], np.load(folder / "train" / IMAGES, mmap_mode="r"))
    manifest["counts"] = {name: len(rows[name]) for name in PARTS}
    notes = _notes(images, to, size, select_on)
    manifest["audit"] = [finding.as_dict() for finding in (*notes, *unreadable, *found)]
    manifest["strata"] = strata
    del pixels, images
    scratch.unlink()
    paths = sorted(folder.rglob("*.npy"))
    manifest["files"] = {str(path.relative_to(folder)): file_hash(path) for path in paths}
    text = json.dumps(manifest, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _size(source: Source, config: DatasetConfig, limit: TimeLimit) -> Size:
    """How large the images are prepared."""
    if source.shapes is not None:
        images = _to_train_on(source, config)
        return chosen(source.shapes, config, limit, images)
    height, width = (config.image_size, config.image_size) if config.image_size else source.size
    return Size(height, width)


def _to_train_on(source: Source, config: DatasetConfig) -> int:
    """About how many images a training will have."""
    free = np.isin(source.parts, (TRAIN, FREE))
    share = 1.0
    for part, fraction in ((TEST, config.test_fraction), (SELECTION, config.selection_fraction)):
        share *= 1 if (source.parts == part).any() else 1 - fraction
    images = share * int(free.sum())
    if config.subset is not None:
        images *= min(1.0, config.subset / len(source.labels))
    return round(min(images, config.train or images))


def _read_all(
    source: Source,
    rows: Sequence[int],
    pixels: np.ndarray,
    to: preparation.Preparation,
    progress: Callable[[str], None],
) -> list[Reading]:
    """Reads these images of the source into their rows of `pixels`, on all cores if the source gains from that."""

    def read(row: int) -> Reading:
        try:
            raw = source.read(row, to)
        except preparation.UnreadableImage as error:
            return Reading(error=str(error))
        array = preparation.to_array(raw.picture.image, to)
        pixels[row] = array
        grey = raw.picture.image.mode == "L" or _is_grey(array)
        picture = hashlib.blake2b(array.tobytes(), digest_size=32).digest()
        blank = _is_blank(array)
        file = {field: getattr(raw.picture, field) for field in FACTS}
        return Reading(raw.digest, picture, grey, **file, size=raw.size, blank=blank)

    readings: list[Reading] = []
    bar = Bar(len(rows), "images", progress)
    cores = len(os.sched_getaffinity(0)) if source.threads else 1
    with ThreadPoolExecutor(cores) as threads:
        for start in range(0, len(rows), cores * BATCH):
            starts = range(start, min(start + cores * BATCH, len(rows)), BATCH)
            batches = [rows[first : first + BATCH] for first in starts]
            readings += chain.from_iterable(threads.map(lambda batch: [read(row) for row in batch], batches))
            bar.at(len(readings))
    return readings


def _to_white(
    source: Source,
    readings: list[Reading],
    pixels: np.ndarray,
    to: preparation.Preparation,
    progress: Callable[[str], None],
) -> preparation.Preparation:
    """Reads the images of more than 8 bits again if all of them use fewer than 16: 10, 12 and 14 are common.

    What fills 10 bits would have four grey levels if it were taken for 16. Gives the preparation that was used.
    """
    rows = [row for row, reading in enumerate(readings) if reading.highest]
    bits = max((readings[row].highest.bit_length() for row in rows), default=16)
    if bits >= 16:
        return to
    to = dataclasses.replace(to, white=2 ** max(8, bits) - 1)
    for row, reading in zip(rows, _read_all(source, rows, pixels, to, progress), strict=True):
        readings[row] = reading
    return to


def _reasons(source: Source, errors: Mapping[int, str]) -> list[str]:
    """What is wrong with the files of these rows: each kind of error once, with a file and how many have it."""
    rows: dict[str, list[int]] = {}
    for row, error in errors.items():
        rows.setdefault(error, []).append(row)
    kinds = sorted(rows.items(), key=lambda kind: -len(kind[1]))
    named = [
        f"{source.name(some[0])} {error}{f', and {len(some) - 1:,} more' if len(some) > 1 else ''}"
        for error, some in kinds[:EXAMPLES]
    ]
    left = sum(len(some) for _, some in kinds[EXAMPLES:])
    return [*named, f"and {left:,} more"] if left else named


def _is_blank(array: np.ndarray) -> bool:
    """Whether all pixels are equal; a few of them settle it for most images."""
    return all(bool((part == array[:1, :1]).all()) for part in (array[::8, ::8], array))


def _is_grey(array: np.ndarray) -> bool:
    """Whether all channels of every pixel are equal; a few pixels settle it for most images."""
    return all(bool((part == part[..., :1]).all()) for part in (array[::8, ::8], array))


def _readable(
    source: Source, readings: list[Reading], pixels: np.ndarray, config: DatasetConfig
) -> tuple[Readable, list[Finding]]:
    """The images that can be used, and what to say about the others. Raises `DataError` unless they may be skipped."""
    bad = [row for row, reading in enumerate(readings) if reading.error]
    named = _reasons(source, {row: readings[row].error for row in bad})
    if bad and config.unreadable != "skip":
        heic = any(readings[row].error == preparation.HEIC_PHRASE for row in bad)
        raise DataError(
            f"{len(bad):,} of {len(readings):,} image files cannot be read: {'; '.join(named)}.",
            (f"for the HEIC photos {install_extra('heif')}; else " if heic else "")
            + "repair or remove these files, or leave them out with dataset.unreadable=skip",
        )
    rows = np.array([row for row, reading in enumerate(readings) if not reading.error], dtype=np.int64)
    kept = [readings[row] for row in rows]
    channels = config.channels or (1 if all(reading.grey for reading in kept) else 3)
    images = Readable(source, rows, kept, pixels, channels)
    what = f"image files that cannot be read, left out: {len(bad):,} of {len(readings):,}"
    found = [Finding("unreadable", "warning", what, "repair or remove them", tuple(named))] if bad else []
    return images, found


def _grouped(images: Readable, pictures: np.ndarray, near: np.ndarray, config: DatasetConfig) -> np.ndarray:
    """N group numbers for the split. Raises `DataError` where near-duplicates would chain most images together."""
    names = images.source.groups
    named = None if names is None else [names[row] for row in images.rows]
    if not config.group_near_duplicates:
        return together(pictures, named)
    largest = int(np.bincount(together(pictures, None, near)).max())
    if largest > CHAINED * len(pictures):
        raise DataError(
            f"dataset.group_near_duplicates would keep {largest:,} of {len(pictures):,} images together: each nearly "
            "equals the next one.",
            "leave it out: for such images a perceptual hash cannot tell what is a duplicate",
        )
    return together(pictures, named, near)


def _notes(images: Readable, to: preparation.Preparation, size: Size, select_on: Split) -> list[Finding]:
    """What is known of the images without looking at them."""
    told = images.source.findings
    notes = [finding if isinstance(finding, Finding) else Finding("source", "note", finding) for finding in told]
    if size.why:
        notes.append(Finding("size", "note", size.why))
    if to.white < preparation.MAX_VALUE:
        bits = to.white.bit_length()
        what = f"image files of 16 bits use {bits} of them: 0…{to.white:,} become 0…255, in new images, too"
        notes.append(Finding("bits", "note", what))
    if images.source.groups is not None:
        named = len({images.source.groups[row] for row in images.rows} - {""})
        notes.append(Finding("groups", "note", f"groups of images that belong together: {named:,} (each in one split)"))
    if select_on == "test":
        notes.append(Finding("protocol", "note", "the selection images are the test images"))
    return notes


def _evidence(
    images: Readable, items: Items, given: np.ndarray, parts: np.ndarray, pictures: np.ndarray, near: np.ndarray
) -> Evidence:
    """What the audit looks at."""
    readings = images.readings
    names = [images.source.name(row) for row in images.rows.tolist()]
    looks = {
        "size in pixels": [f"{reading.width} × {reading.height}" for reading in readings],
        "format": [reading.format for reading in readings],
        "colour mode": [reading.mode for reading in readings],
    }
    combined = {"size, format and colour mode": [", ".join(values) for values in zip(*looks.values(), strict=True)]}
    return Evidence(
        class_names=items.class_names,
        labels=items.labels,
        given=given,
        parts=parts,
        pictures=pictures,
        groups=items.groups,
        near=near,
        blank=np.array([reading.blank for reading in readings], dtype=bool),
        digests=items.digests,
        names=names,
        # Half octaves of bytes.
        files={**looks, **combined, "file size": [round(2 * math.log2(max(1, reading.size))) for reading in readings]},
        words={"file names": [Path(name).name for name in names], "metadata": [r.words for r in readings]},
        terms=images.source.terms,
    )


def _ordered(images: Readable, parts: np.ndarray, name: str, part: int, seed: int) -> np.ndarray:
    """The positions (in `images`) of the split `name`, which are those of a part, in random order.

    The order of blinded rows is salted with the hidden labels themselves: nobody who lacks them can compute it.
    """
    positions = np.flatnonzero(parts == part)
    classes, labels = images.source.class_names, images.labels
    tagged = [images.readings[row].digest + classes[labels[row]].encode() for row in positions]
    salt = f"order {name} {seed}".encode()
    if part in (SELECTION, TEST):
        salt += hashlib.sha256(b"".join(sorted(tagged))).digest()
    return np.asarray(positions[order(tagged, salt)])


def _write(folder: Path, images: Readable, rows: dict[str, np.ndarray]) -> None:
    """The arrays of all splits, hidden labels readable by their owner alone."""
    hidden = folder / HIDDEN
    hidden.mkdir(mode=0o700)
    for name, positions in rows.items():
        target = folder / name
        target.mkdir()
        write_array(target / IMAGES, images.pixels, images.rows[positions], images.channels)
        secret = name != "train"
        labels = hidden / f"{name}.npy" if secret else target / LABELS
        labels.touch(mode=0o600)
        write_array(labels, images.source.labels, images.rows[positions])
        # A sandbox may read as another user.
        target.chmod(0o755)
        for path in target.iterdir():
            path.chmod(0o644)
        if secret:
            forget_times([target / IMAGES, target])


def _write_strata(folder: Path, images: Readable, test: np.ndarray) -> list[str]:
    """Writes which stratum each test image belongs to, beside the hidden labels and in their order; gives the names."""
    if images.source.strata is None:
        return []
    names, numbers = np.unique([images.source.strata[row] for row in images.rows[test]], return_inverse=True)
    path = folder / HIDDEN / STRATA
    path.touch(mode=0o600)
    write_array(path, numbers.astype(np.int64), np.arange(len(test)))
    return [str(name) for name in names]


def _describe(
    images: Readable, to: preparation.Preparation, size: Size, train: np.ndarray, pixels: np.ndarray
) -> dict[str, Any]:
    """The part of the manifest about the classes and the training images (`pixels`, in the order of `train`)."""
    readings = [images.readings[position] for position in train]
    facts, mean, std = card.facts(
        pixels,
        np.array([reading.height for reading in readings]),
        np.array([reading.width for reading in readings]),
        [reading.format for reading in readings],
    )
    return {
        "rule": preparation.RULE,
        "class_names": list(images.source.class_names),
        "height": size.height,
        "width": size.width,
        "stored": size.stored,
        "fit": to.fit,
        "channels": images.channels,
        "white": to.white,
        "mean": mean,
        "std": std,
        "images_per_class": np.bincount(images.labels[train], minlength=len(images.source.class_names)).tolist(),
        "facts": facts,
    }
