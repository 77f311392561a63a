"""What people give instead of folders of images: archives, tables of the hub, images for object detection."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from improve.datasets.tree import folders_in, images_in, setting

UNPACKERS = {
    "python3 -m zipfile -e {} .": (".zip",),
    "tar -xf {}": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"),
    "7z x {}": (".7z", ".rar"),
}
MOST_FILES = 2000  # that are looked at
EXAMPLES = 5  # archives that a command names


def advice(root: Path) -> list[str]:
    """What to do with a folder that holds no classes, by the files that lie in it; nothing where they tell nothing."""
    files = sorted(itertools.islice((path for path in root.rglob("*") if path.is_file()), MOST_FILES))
    found = [*_unpacking(root, files)]
    if any(path.suffix == ".parquet" for path in files):
        found.append(f"tables of images (.parquet) are read with dataset=hub {setting('dataset.path', root)}")
    if _detected(root):
        found.append(
            "these look like images for object detection, with places of things in text files: a classifier needs one "
            "class for each image, as class folders or as a table (dataset=csv)"
        )
    return found


def unpacking(path: Path) -> str:
    """The command that unpacks an archive where it lies, without the change to its folder; "" for other files."""
    commands = [command for command, ends in UNPACKERS.items() if path.name.lower().endswith(ends)]
    return commands[0].format(shlex.quote(path.name)) if commands else ""


def _unpacking(root: Path, files: Iterable[Path]) -> Iterator[str]:
    steps = [step for path in files if path.parent == root and (step := unpacking(path))]
    if steps:
        more = "" if len(steps) <= EXAMPLES else " …"
        yield f"unpack the archives: (cd {shlex.quote(str(root))} && {' && '.join(steps[:EXAMPLES])}{more})"


def _detected(root: Path) -> bool:
    """Whether images lie beside a folder of text files that have their names, as YOLO and others have it."""
    names = {folder.name.lower(): folder for folder in folders_in(root)}
    for images in filter(None, (names.get("images"), *names.values())):
        for labels in filter(None, (names.get("labels"), names.get("annotations"), names.get("label"))):
            stems = {path.stem for path in labels.rglob("*") if path.suffix.lower() in (".txt", ".xml", ".json")}
            pictures = [name for place in (images, *folders_in(images)) for name in images_in(place)]
            if labels != images and pictures and sum(Path(name).stem in stems for name in pictures) > len(pictures) / 2:
                return True
    return False
