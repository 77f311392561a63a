"""How people lay out folders of labelled images: which folders are classes, which are splits, which only wrap others.

    CLASS/…                       one folder for each class
    train/CLASS/…, test/CLASS/…   splits; also seg_train/, "Training Set"/, and doubled ones (train/train/CLASS/…)
    CLASS/train/…, CLASS/test/…   splits inside of the classes

A layout is recognised, or refused with what was seen. `dataset.labels` says outright where the classes are: in
`folders`, those below the images' folder, whatever they are called; in `parents`, the folder that an image lies in; in
`names`, the beginning of a file's name, without the number at its end.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from improve.datasets.files import shown
from improve.datasets.findings import Finding
from improve.datasets.labels import shown_names
from improve.datasets.levels import refuse_shared, settle
from improve.datasets.source import SPLIT_NAMES, settled
from improve.datasets.tree import (
    Folder,
    class_name,
    count_images,
    entries,
    files_below,
    folders_in,
    has_images,
    images_in,
    kind_of,
    setting,
    walked,
)
from improve.errors import DataError
from improve.pipeline.template.images import is_image

# What a split is called, with words before or behind it that say nothing: "Training Set", "images_train", "seg_train".
_FILLER = r"(?:sets?|splits?|data|datasets?|images?|imgs?|pictures?|pics|photos?|files|folders?)"
SPLIT = re.compile(
    rf"^(?:{_FILLER}[\W_]*)*(?P<before>.*?)(?<![a-z])(?P<split>{'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})"
    rf"(?:[\W_]*{_FILLER})*(?![a-z])(?P<after>.*)$"
)
NUMBER = re.compile(r"[\W_]*\d+\W*$")  # at the end of a file's name
WRAPPERS = ("data", "dataset", "images", "imgs", "img", "pictures", "photos")  # folders between a split and its classes


@dataclass
class Layout:
    """The parts of a dataset, {"all": …} or {"train": …, "val": …, "test": …} as far as they exist, and what to say."""

    parts: dict[str, Folder]
    findings: list[Finding] = field(default_factory=list)


def recognise(root: Path, labels: str | None = None) -> Layout:
    """The layout of `root`, with the classes where `labels` says (see `dataset.labels`). Raises `DataError`."""
    if labels == "folders":
        return Layout({"all": class_folders(root)})
    root = _entered(root)
    splits = _splits(root, labels)
    if splits:
        return _in_splits(root, splits, labels)
    if labels:
        return Layout({"all": _labelled(root, labels)})
    _refuse_splits_beside_classes(root)
    inside = _splits_inside(root)
    if inside:
        return inside
    folder = class_folders(root)
    return Layout({"all": folder}, settle(folder, _called_split))


def class_folders(root: Path) -> Folder:
    """The folders in `root` as classes, with their image files at any depth."""
    folder = Folder(root)
    for place in folders_in(root):
        name = class_name(place)
        files = files_below(place, root, folder.ignored)
        folder.classes.setdefault(name, []).extend(files)
        folder.places.setdefault(name, []).append(place)
    _add_loose(folder)
    return folder


def _labelled(root: Path, labels: str) -> Folder:
    """All images below `root`, their classes where `labels` says."""
    if labels == "folders":
        return class_folders(root)
    folder = Folder(root)
    for place, names in walked(root):
        for name in names:
            if not is_image(name):
                folder.ignored[kind_of(name)] += 1
                continue
            file = os.path.relpath(place / name, root)
            label = class_name(place) if labels == "parents" else _name_of(name)
            if (labels == "parents" and place == root) or not label:
                folder.loose.append(file)
            else:
                folder.classes.setdefault(label, []).append(file)
    return folder


def _name_of(file: str) -> str:
    """The beginning of a file's name: "cat" of "cat.12.jpg", "0" of "0_123.jpg", "" of "123.jpg"."""
    return unicodedata.normalize("NFC", shown(NUMBER.sub("", os.path.splitext(file)[0])))


def _entered(place: Path) -> Path:
    """`place`, or the folder inside of it where it only wraps that: a doubled one, or one that holds the splits."""
    inside = folders_in(place)
    if len(inside) != 1 or images_in(place):
        return place
    only = inside[0]
    doubled = only.name.casefold() == place.absolute().name.casefold() and len(folders_in(only)) > 1
    parts = Counter(part for _, part, _ in _named_splits(only))
    if doubled or (parts["train"] and len(parts) > 1):
        return _entered(only)
    return place


def _named_splits(root: Path) -> list[tuple[Path, str, str]]:
    """The folders that are called like splits: each with what split, and the rest of its name."""
    return [(folder, *named) for folder in folders_in(root) if (named := _split_name(folder))]


def _split_name(folder: Path) -> tuple[str, str] | None:
    """What split a folder is called like, and the rest of its name; None if it is called like none."""
    match = SPLIT.match(shown(folder.name).lower())
    if not match:
        return None
    return SPLIT_NAMES[match["split"]], " ".join(re.findall(r"[^\W\d_]+", f"{match['before']} {match['after']}"))


def _called_split(folder: Path) -> bool:
    """Whether a folder's name says that it is a split, and nothing else."""
    named = _split_name(folder)
    return named is not None and not named[1]


def _splits(root: Path, labels: str | None) -> dict[str, Path]:
    """The folders that hold the splits, if there is one to train on. Raises `DataError` where that is not clear."""
    families: dict[str, list[tuple[Path, str]]] = {}
    for folder, part, rest in _named_splits(root):
        families.setdefault(rest, []).append((folder, part))
    trained = [family for family in families.values() if any(part == "train" for _, part in family)]
    classes_inside = [family for family in trained if any(p == "train" and _is_split(f) for f, p in family)]
    if len(classes_inside) > 1:
        several = " and ".join(f"{folder.name}/" for family in classes_inside for folder, _ in family)
        fix = f"keep those of one split, or name one: {setting('dataset.path', classes_inside[0][0][0])}"
        raise DataError(f"{shown(str(root))} holds more than one split: {several}.", fix)
    if classes_inside:
        return _by_part(root, classes_inside[0])
    # A class may be called "train": then it holds images, and no neighbour is called "test".
    several_parts = [family for family in trained if len(family) > 1]
    if not several_parts:
        return {}
    found = _by_part(root, several_parts[0])
    if labels == "names":
        return found
    raise _no_classes_inside(root, found)


def _by_part(root: Path, family: list[tuple[Path, str]]) -> dict[str, Path]:
    """The folders of a split by what they are: "train", "val", "test", in this order."""
    found: dict[str, Path] = {}
    meaning = settled({part for _, part in family})
    for folder, part in family:
        if meaning[part] in found:
            raise DataError(
                f"{shown(str(root))} holds both {found[meaning[part]].name}/ and {folder.name}/.",
                "remove or rename one of them",
            )
        found[meaning[part]] = folder
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def _is_split(folder: Path) -> bool:
    """Whether a folder holds class folders, and not more images beside them than in them."""
    inner = split_folder(folder)
    loose = len(images_in(inner))
    if not loose:
        return _holds_classes(inner)
    return loose <= sum(count_images(place) for place in folders_in(inner))


def split_folder(folder: Path) -> Path:
    """Where the class folders of a split are: in it, or in the only folder inside, if that is only a wrapper."""
    inside = folders_in(folder)
    if len(inside) != 1 or images_in(folder):
        return folder
    outer, inner = folder.name.lower(), inside[0].name.lower()
    outside, called = SPLIT.match(outer), SPLIT.match(inner)
    same = outside and called and SPLIT_NAMES[outside["split"]] == SPLIT_NAMES[called["split"]]
    return split_folder(inside[0]) if same or inner in WRAPPERS or inner == outer else folder


def nested(folder: Path) -> Path | None:
    """The folder, at or below this one, that holds several folders with images; None if single ones lead to none."""
    inside = [inner for inner in folders_in(folder) if has_images(inner)]
    if len(inside) == 1 and not images_in(folder):
        return nested(inside[0])
    return folder if len(inside) > 1 else None


def _holds_classes(folder: Path) -> bool:
    return any(map(has_images, folders_in(folder)))


def _no_classes_inside(root: Path, found: dict[str, Path]) -> DataError:
    train = split_folder(found["train"])
    files = images_in(train)
    if _holds_classes(train):
        return DataError(
            f"{shown(str(train))} holds {len(files):,} images beside its class folders, more than in them.",
            "move them into the folders of their classes, or away",
        )
    seen = ", ".join(f"{folder.name}/ ({count_images(folder)} images)" for folder in found.values())
    by_hand = (
        f"sort the images into class folders: {found['train'].name}/CLASS/…; or, if these folders are the classes, "
        f"{setting('dataset.labels', 'folders')}"
    )
    fix = "; else ".join([*elsewhere(root, files), by_hand])
    return DataError(
        f"{shown(str(root))} holds {seen}, and the images lie in them without class folders, so that nothing tells "
        "their classes.",
        fix,
    )


def elsewhere(root: Path, files: list[str]) -> list[str]:
    """Where the classes of images that lie in no class folders may stand, with the settings: in a table, in names."""
    found = []
    tables = [path for path in entries(root) if path.suffix.lower() in (".csv", ".tsv") and path.is_file()]
    # Competitions have a table of the training images beside an example of what is to be handed in.
    tables.sort(key=lambda path: ("train" not in path.name.lower(), "submission" in path.name.lower(), path))
    if tables:
        found.append(f"if a table has the classes, dataset=csv {setting('dataset.path', tables[0])}")
    names = Counter(map(_name_of, files))
    if 1 < len(names) <= len(files) / 4 and "" not in names:
        found.append(
            f"their names begin with {len(names)} different words ({shown_names(sorted(names))}): if these are the "
            f"classes, {setting('dataset.labels', 'names')}"
        )
    return found


def _in_splits(root: Path, splits: dict[str, Path], labels: str | None) -> Layout:
    """Splits with classes inside. A split without class folders is left out, and said to be unlabelled."""
    layout = Layout({})
    for part, folder in splits.items():
        inner = split_folder(folder)
        found = _labelled(inner, labels or "folders")
        if part != "train" and _is_unlabelled(found, layout.parts["train"]):
            layout.findings += _unlabelled(folder)
        else:
            layout.parts[part] = found
            layout.findings += [] if labels else settle(found, _called_split)
    beside = [place for place in folders_in(root) if place not in splits.values()]
    for place in beside:
        count = count_images(place)
        what = f"the folder {shown(place.name)}/ beside {splits['train'].name}/ is not used ({count} images)"
        classes = {class_name(inner) for inner in folders_in(split_folder(place))}
        if len(classes & set(layout.parts["train"].classes)) < 2:
            layout.findings.append(Finding("beside", "note", what))
        else:
            fix = "if it is a split, rename it to train, val or test"
            layout.findings.append(Finding("beside", "warning", f"{what}, though it holds the same class folders", fix))
    return layout


def _is_unlabelled(folder: Folder, train: Folder) -> bool:
    """Whether a split has no classes: images alone, or nothing but one folder that is no class of train."""
    filled = [name for name, files in folder.classes.items() if files]
    known = any(name in train.classes for name in filled)
    return not filled or (not known and (len(filled) == 1 or bool(folder.loose)))


def _unlabelled(folder: Path) -> list[Finding]:
    count = count_images(folder)
    if not count:
        return []
    what = f"{shown(folder.name)}/ has {count} images without class folders: they are unlabelled and not used"
    fix = f"the card of a finished run names the command that predicts their classes: its IMAGES are {folder}"
    return [Finding("unlabelled", "note", what, fix)]


def _refuse_splits_beside_classes(root: Path) -> None:
    """Folders called val or test without a train folder. "train" alone may be a class, "test" hardly ever is."""
    called = [folder for folder, part, rest in _named_splits(root) if part != "train" and not rest]
    if not any(map(has_images, called)):
        return
    others = [folder for folder in folders_in(root) if folder not in called and has_images(folder)]
    for place in map(nested, others):
        if place and any(part == "train" and _is_split(inner) for inner, part, _ in _named_splits(place)):
            raise DataError(
                f"{shown(str(root))} holds {' and '.join(f'{folder.name}/' for folder in called)} beside a folder that "
                "holds splits itself.",
                f"use those: {setting('dataset.path', place)}",
            )
    names = " and ".join(f"{folder.name}/" for folder in called)
    here = shlex.quote(str(root))
    if not others:
        use = setting("dataset.path", called[0])
        raise DataError(
            f"{shown(str(root))} holds {names}, but nothing to train on.",
            f"put the images to train on into {shown(str(root / 'train'))}, or use those that are there: {use}"
            if _holds_classes(called[0])
            else "give a folder of images to train on, with one folder for each class; or, if these are the classes, "
            f"{setting('dataset.labels', 'folders')}",
        )
    moved = " ".join(shlex.quote(place.name) for place in others[:EXAMPLES])
    more = "" if len(others) <= EXAMPLES else " …"
    raise DataError(
        f"{shown(str(root))} holds {names} beside {len(others)} other folders "
        f"({shown_names([class_name(place) for place in others])}): it may be a split or a class.",
        f"if the others are the classes to train on: (cd {here} && mkdir train && mv {moved}{more} train/); "
        f"if {names} is a class like them: {setting('dataset.labels', 'folders')}",
    )


EXAMPLES = 20  # folders named in a command


def _splits_inside(root: Path) -> Layout | None:
    """CLASS/train/…, CLASS/test/…: splits inside of each class. None if no class holds any. Raises `DataError`."""
    parts: dict[Path, dict[str, Path]] = {}
    places = [place for place in folders_in(root) if has_images(place)]
    for place in places:
        names = {inner: named[0] for inner in folders_in(place) if (named := _split_name(inner)) and not named[1]}
        meaning = settled(set(names.values()))
        parts[place] = {meaning[part]: inner for inner, part in names.items()}
    if len(places) < 2 or not any("train" in found and len(found) > 1 for found in parts.values()):
        return None
    inside = [
        {class_name(below) for inner in found.values() for below in folders_in(inner)} for found in parts.values()
    ]
    refuse_shared(root, [class_name(place) for place in places], inside)
    expected = set().union(*parts.values())
    odd = [place for place in places if set(parts[place]) != expected or images_in(place)]
    if odd:
        some = next(place for place in places if place not in odd) if len(odd) < len(places) else places[0]
        raise DataError(
            f"{shown(str(some))} holds {' and '.join(sorted(p.name for p in parts[some].values()))}, splits inside of "
            f"a class, but {shown_names([class_name(place) for place in odd])} not in the same way.",
            f"give all classes the same folders; to take each folder as one class, without splits: "
            f"{setting('dataset.labels', 'folders')}",
        )
    layout = Layout({part: Folder(root) for part in ("train", "val", "test") if part in expected})
    for part, folder in layout.parts.items():
        for place in places:
            name = class_name(place)
            folder.classes.setdefault(name, []).extend(files_below(parts[place][part], root, folder.ignored))
            folder.places.setdefault(name, []).append(place)
    layout.findings.append(Finding("inside", "note", "the splits are those inside of each class folder"))
    return layout


def _add_loose(folder: Folder) -> None:
    """Files beside the class folders."""
    for entry in entries(folder.root):
        if not entry.is_dir():
            if is_image(entry.name):
                folder.loose.append(entry.name)
            else:
                folder.ignored[kind_of(entry.name)] += 1
