"""TinyImageNet: 100,000 training and 10,000 validation photos of 64 × 64 pixels in 200 classes.

The archive's layout: train/WNID/images/*.JPEG, val/images/*.JPEG with val/val_annotations.txt (file, WNID, box), and
words.txt (WNID, names). The test images have no labels, so the validation set is the test set (the paper's rule).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.fetch import check_folder, fetching, unpack
from improve.datasets.files import from_files, state
from improve.datasets.source import TEST, TRAIN, Downloads, Source
from improve.datasets.table import check_files
from improve.errors import DataError

NAME = "tiny_imagenet"
TITLE = "TinyImageNet"
INNER = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
BY_HAND = f"get {URL}, unpack it and give its folder as dataset.path=DIR"


def key(config: DatasetConfig, downloads: Downloads) -> str:
    check_folder(config.path)
    root = _find(config, downloads)
    if config.path and root is None:
        raise DataError(
            f"dataset.path={config.path} does not hold {TITLE}: there is no val/val_annotations.txt in it.", BY_HAND
        )
    return state(path.absolute() for path, _, _ in _images(root)) if config.path and root else NAME


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    root = _find(config, downloads) or _download(downloads, notify)
    images = _images(root)
    paths = [path for path, _, _ in images]
    check_files(paths, config)
    wnids = sorted({wnid for _, wnid, part in images if part == TRAIN})
    number = {wnid: position for position, wnid in enumerate(wnids)}
    unknown = {wnid for _, wnid, _ in images} - set(wnids)
    if len(wnids) < 2 or unknown:
        raise DataError(
            f"{root} is not the layout of {TITLE}: {len(wnids)} training classes, {len(unknown)} others.", BY_HAND
        )
    labels = [number[wnid] for _, wnid, _ in images]
    return from_files(paths, labels, [part for _, _, part in images], _class_names(root, wnids))


def _find(config: DatasetConfig, downloads: Downloads) -> Path | None:
    root = downloads.root(config, NAME)
    return next((place for place in (root, root / INNER) if (place / "val" / "val_annotations.txt").is_file()), None)


def _download(downloads: Downloads, notify: Callable[[str], None]) -> Path:
    # torchvision takes seconds to import and is needed only for the download.
    from torchvision.datasets.utils import download_url

    root = downloads.folder / NAME
    notify(f"downloading {TITLE} to {root}")
    with fetching(TITLE, root, BY_HAND, downloads, notify):
        # Another run may have been first while we waited.
        if not (root / INNER).is_dir():
            download_url(URL, str(downloads.folder), f"{INNER}.zip", MD5)
            unpack(downloads.folder / f"{INNER}.zip", root)
    return root / INNER


def _images(root: Path) -> list[tuple[Path, str, int]]:
    """Every labelled image: its file, its class's WNID and its part."""
    images = [(path, path.parent.parent.name, TRAIN) for path in sorted((root / "train").glob("n*/images/*.JPEG"))]
    with open(root / "val" / "val_annotations.txt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if row]
    return images + [(root / "val" / "images" / row[0], row[1], TEST) for row in rows]


def _class_names(root: Path, wnids: list[str]) -> list[str]:
    """The first name of each class in words.txt; its WNID where two classes have the same, or where it has none."""
    names: dict[str, str] = {}
    words = root / "words.txt"
    if words.is_file():
        for line in words.read_text(encoding="utf-8").splitlines():
            wnid, _, synonyms = line.partition("\t")
            names[wnid] = synonyms.split(",")[0].strip()
    count = Counter(names.get(wnid) for wnid in wnids)
    return [names[wnid] if names.get(wnid) and count[names[wnid]] == 1 else wnid for wnid in wnids]
