"""A folder of labelled images: one folder for each class, or `train/`, `val/`, `test/` with class folders inside.

The splits follow the paper (section 4.1): a given test set is the test set; else a given validation set is; else 20%
of the images are. The selection split is the validation set if a test set is there too, else a part of train.
Class folders are searched to any depth. Files that are no images are ignored and counted.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from improve.config.schema import DatasetConfig
from improve.datasets.files import from_files, shown, state
from improve.datasets.source import SPLIT_NAMES, Downloads, Source, given_part
from improve.errors import DataError, nearest
from improve.pipeline.template.images import IMAGE_EXTENSIONS

NO_CLASSES = ("__MACOSX", "@eaDir", "lost+found")  # folders that systems leave behind


@dataclass
class Folder:
    """Class folders below `root`: relative paths of image files by class name, and what was ignored, by extension."""

    root: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


def key(config: DatasetConfig, downloads: Downloads) -> str:
    """Names, sizes and times of all image files. Raises `DataError` for a folder that is no dataset."""
    return key_of(scan(find_root(config.path or "")))


def key_of(folders: dict[str, Folder]) -> str:
    """Names, sizes and times of the image files that `scan` has found."""
    return "\n".join(
        f"{part} {name} {state(folder.root.resolve() / file for file in files)}"
        for part, folder in folders.items()
        for name, files in folder.classes.items()
    )


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    return from_folders(scan(find_root(config.path or "")), config)


def from_folders(folders: dict[str, Folder], config: DatasetConfig, findings: Sequence[str] = ()) -> Source:
    """A source of the images that `scan` has found."""
    class_names = sorted(next(iter(folders.values())).classes)
    paths: list[Path] = []
    labels: list[int] = []
    parts: list[int] = []
    ignored: Counter[str] = Counter()
    for part, folder in folders.items():
        ignored += folder.ignored
        for label, name in enumerate(class_names):
            paths += [folder.root / file for file in folder.classes[name]]
            labels += [label] * len(folder.classes[name])
            parts += [given_part(part, folders)] * len(folder.classes[name])
    return from_files(paths, labels, parts, class_names, config, [*_about_ignored(ignored), *findings])


def find_root(given: str) -> Path:
    """The folder that the user named. Raises `DataError` if it is none, naming the nearest that exists."""
    root = Path(given).expanduser()
    if os.path.isdir(root):
        return root
    if os.path.lexists(root):
        raise DataError(
            f"dataset.path={given} is a file, not a folder.", "give the folder that holds the class folders"
        )
    parent = next(path for path in (root.parent, *root.absolute().parents) if os.path.isdir(path))
    names = [entry.name for entry in _folders(parent)]
    missing = root.absolute().relative_to(parent.absolute()).parts[0]
    hint = nearest(missing, names[:20]) if names else "it holds no folder at all"
    raise DataError(
        f"dataset.path={given} does not exist: there is no {missing!r} in {parent.absolute()}.",
        f"check the path; {hint}",
    )


def scan(root: Path) -> dict[str, Folder]:
    """The dataset's parts: {"all": …} or {"train": …, "val": …, "test": …}, as far as they exist.

    Raises `DataError` for no or a single class, an empty class, and parts that differ in their classes.
    """
    split_folders = _split_folders(root)
    if not split_folders:
        return {"all": _scan_classes(root)}
    folders = {part: _scan_classes(path) for part, path in split_folders.items()}
    beside = [entry.name for entry in _folders(root) if entry not in split_folders.values()]
    if beside:
        folders["train"].ignored["folders beside train/"] += len(beside)
    for part, folder in folders.items():
        for one, other, there in ((folders["train"], folder, part), (folder, folders["train"], "train")):
            differing = sorted(set(one.classes) - set(other.classes))
            if differing:
                raise DataError(
                    f"The class folders of {shown(str(root))} differ: {split_folders[there].name}/ has no "
                    f"{', '.join(repr(name) for name in differing[:5])}.",
                    "give all of its folders the same class folders, or remove the split and share the images out anew",
                )
    return folders


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders train, val and test, if there is a train folder that holds folders and no images itself."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
        part = SPLIT_NAMES.get(folder.name.lower())
        if part in found:
            raise DataError(
                f"{shown(str(root))} holds both {found[part].name}/ and {folder.name}/.",
                "remove or rename one of them",
            )
        if part:
            found[part] = folder
    # A class may be called "train": then it holds images, not folders.
    if "train" not in found or not _folders(found["train"]) or any(_is_image(e.name) for e in _entries(found["train"])):
        return {}
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _scan_classes(root: Path) -> Folder:
    """The class folders in `root` with their image files. Raises `DataError` for no or one class, or an empty one."""
    folder = Folder(root)
    for class_folder in _folders(root):
        files = folder.classes.setdefault(unicodedata.normalize("NFC", shown(class_folder.name)), [])
        files += _image_files(class_folder, root, folder.ignored)
    folder.ignored.update(_kind(entry.name) for entry in _entries(root) if not entry.is_dir())
    place = shown(str(root))
    if not folder.classes:
        raise DataError(
            f"{place} has no class folders.", "put the images of each class into a folder that is named after the class"
        )
    if len(folder.classes) == 1:
        only = next(iter(_folders(root)))
        inside = f"; if the classes are inside of it, use dataset.path={shown(str(only))}" if _folders(only) else ""
        raise DataError(
            f"{place} has one class folder only ({next(iter(folder.classes))!r}), but a classifier needs two.",
            f"add a folder for each further class{inside}",
        )
    empty = [name for name, files in folder.classes.items() if not files]
    if empty:
        raise DataError(
            f"{len(empty)} class folders in {place} hold no images: {', '.join(repr(name) for name in empty[:5])}.",
            f"add images ({', '.join(sorted(IMAGE_EXTENSIONS)[:8])}, …) or remove the folder",
        )
    return folder


def _image_files(class_folder: Path, root: Path, ignored: Counter[str]) -> list[str]:
    """Paths, relative to `root` and sorted, of the files below a class folder that are named like images."""
    files: list[str] = []
    seen: set[tuple[int, int]] = set()
    for place, subfolders, names in os.walk(class_folder, followlinks=True, onerror=_refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not _is_system_folder(name))
        for name in names:
            if _is_image(name):
                files.append(os.path.relpath(os.path.join(place, name), root))
            else:
                ignored[_kind(name)] += 1
    return sorted(files)


def _entries(folder: Path) -> list[Path]:
    """The visible entries of a folder, by name. Raises `DataError` if it may not be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        _refuse(error)
        raise


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir() and not _is_system_folder(entry.name)]


def _refuse(error: OSError) -> None:
    raise DataError(
        f"The folder {shown(str(error.filename))} cannot be listed ({error.strerror}).",
        "make it readable (chmod -R u+rX)",
    ) from error


def _is_system_folder(name: str) -> bool:
    return name.startswith(".") or name in NO_CLASSES


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_EXTENSIONS


def _kind(name: str) -> str:
    """How an ignored file is counted."""
    return "hidden" if name.startswith(".") else Path(name).suffix.lower() or "without an extension"


def _about_ignored(ignored: Counter[str]) -> tuple[str, ...]:
    if not ignored:
        return ()
    kinds = ", ".join(f"{count} {shown(kind)}" for kind, count in ignored.most_common(5))
    return (f"entries that are no images, ignored: {sum(ignored.values()):,} ({kinds})",)
