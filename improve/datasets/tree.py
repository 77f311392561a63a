"""The folders and files below a folder of images: what is looked at, what is left out, and what it is called."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from improve.datasets.files import shown
from improve.errors import DataError
from improve.pipeline.template.images import IMAGE_EXTENSIONS, is_image, is_system_folder, leads_back, walk


@dataclass
class Folder:
    """Class folders below `root`: relative paths of image files by class name, and what was ignored, by extension.

    `places`: the folders of each class, where folders are classes. `loose`: images that lie in no class folder.
    """

    root: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[Path]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    found = [entry for entry in entries(folder) if entry.is_dir() and not is_system_folder(entry.name)]
    return [entry for entry in found if not leads_back(entry)]


def class_name(place: Path) -> str:
    """What a folder calls its class, in one form of Unicode: archives made on a Mac have another one."""
    return unicodedata.normalize("NFC", shown(place.name))


def setting(key: str, value: object) -> str:
    """`KEY=VALUE` as it can be pasted into a shell."""
    return shlex.quote(f"{key}={value}")


def walked(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders at and below `folder`, each with the names of its files. Raises `DataError` if one is not listed."""
    return walk(folder, _refuse)


def has_images(folder: Path) -> bool:
    return any(is_image(name) for _, names in walked(folder) for name in names)


def images_in(folder: Path) -> list[str]:
    """Names of the image files that lie directly in a folder."""
    return [entry.name for entry in entries(folder) if is_image(entry.name) and not entry.is_dir()]


def count_images(folder: Path) -> int:
    return len(files_below(folder, folder, Counter()))


def files_below(place: Path, root: Path, ignored: Counter[str]) -> list[str]:
    """Paths, relative to `root` and sorted, of the files below a folder that are named like images."""
    files: list[str] = []
    for folder, names in walked(place):
        for name in names:
            if is_image(name):
                files.append(os.path.relpath(folder / name, root))
            else:
                ignored[kind_of(name)] += 1
    return sorted(files)


def entries(folder: Path) -> list[Path]:
    """The visible entries of a folder, by name. Raises `DataError` if it may not be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        _refuse(error)
        raise


def _refuse(error: OSError) -> None:
    folder = shown(str(error.filename))
    raise DataError(
        f"The folder {folder} cannot be listed ({error.strerror}).",
        f"make it readable: chmod -R u+rX {shlex.quote(folder)}",
    ) from error


def kind_of(name: str) -> str:
    """How an ignored file is counted."""
    return "hidden" if name.startswith(".") else os.path.splitext(name)[1].lower() or "without an extension"


def kinds(ignored: Iterable[tuple[str, int]]) -> str:
    """Ignored files as a part of a sentence: "3 .txt, 1 hidden"."""
    return ", ".join(f"{count} {shown(kind)}" for kind, count in ignored)


def extensions() -> str:
    """Some of the extensions that images have."""
    return f"{', '.join(sorted(IMAGE_EXTENSIONS)[:8])}, …"
