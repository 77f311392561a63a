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
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from improve.datasets.files import shown
from improve.datasets.findings import Finding
from improve.datasets.labels import shown_names
from improve.datasets.source import SPLIT_NAMES, settled
from improve.errors import DataError
from improve.pipeline.template.images import IMAGE_EXTENSIONS, is_image, is_system_folder, leads_back, walk

# What a split is called, with words before or behind it that say nothing: "Training Set", "images_train", "seg_train".
_FILLER = r"(?:sets?|splits?|data|datasets?|images?|imgs?|pictures?|pics|photos?|files|folders?)"
SPLIT = re.compile(
    rf"^(?:{_FILLER}[\W_]*)*(?P<before>.*?)(?<![a-z])(?P<split>{'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})"
    rf"(?:[\W_]*{_FILLER})*(?![a-z])(?P<after>.*)$"
)
NUMBER = re.compile(r"[\W_]*\d+\W*$")  # at the end of a file's name
WRAPPERS = ("data", "dataset", "images", "imgs", "img", "pictures", "photos")  # folders between a split and its classes


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
    _refuse_two_levels(root, folder)
    return Layout({"all": folder})


def class_folders(root: Path) -> Folder:
    """The folders in `root` as classes, with their image files at any depth."""
    folder = Folder(root)
    for place in folders_in(root):
        name = class_name(place)
        files = _files_below(place, root, folder.ignored)
        folder.classes.setdefault(name, []).extend(files)
        folder.places.setdefault(name, []).append(place)
    _add_loose(folder)
    return folder


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, by name."""
    found = [entry for entry in _entries(folder) if entry.is_dir() and not is_system_folder(entry.name)]
    return [entry for entry in found if not leads_back(entry)]


def class_name(place: Path) -> str:
    """What a folder calls its class, in one form of Unicode: archives made on a Mac have another one."""
    return unicodedata.normalize("NFC", shown(place.name))


def setting(key: str, value: object) -> str:
    """`KEY=VALUE` as it can be pasted into a shell."""
    return shlex.quote(f"{key}={value}")


def _labelled(root: Path, labels: str) -> Folder:
    """All images below `root`, their classes where `labels` says."""
    if labels == "folders":
        return class_folders(root)
    folder = Folder(root)
    for place, names in walk(root, _refuse):
        for name in names:
            if not is_image(name):
                folder.ignored[_kind(name)] += 1
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
    found = []
    for folder in folders_in(root):
        match = SPLIT.match(shown(folder.name).lower())
        if match:
            rest = " ".join(re.findall(r"[^\W\d_]+", f"{match['before']} {match['after']}"))
            found.append((folder, SPLIT_NAMES[match["split"]], rest))
    return found


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
    return loose <= sum(_count(place) for place in folders_in(inner))


def split_folder(folder: Path) -> Path:
    """Where the class folders of a split are: in it, or in the only folder inside, if that is only a wrapper."""
    inside = folders_in(folder)
    if len(inside) != 1 or images_in(folder):
        return folder
    outer, inner = folder.name.lower(), inside[0].name.lower()
    outside, called = SPLIT.match(outer), SPLIT.match(inner)
    same = outside and called and SPLIT_NAMES[outside["split"]] == SPLIT_NAMES[called["split"]]
    return split_folder(inside[0]) if same or inner in WRAPPERS or inner == outer else folder


def _holds_classes(folder: Path) -> bool:
    return any(map(_has_images, folders_in(folder)))


def _has_images(folder: Path) -> bool:
    return any(is_image(name) for _, names in walk(folder, _refuse) for name in names)


def _no_classes_inside(root: Path, found: dict[str, Path]) -> DataError:
    seen = ", ".join(f"{folder.name}/ ({_count(folder)} images)" for folder in found.values())
    files = images_in(split_folder(found["train"]))
    names = Counter(map(_name_of, files))
    tables = sorted(root.glob("*.csv"))
    fix = (
        f"sort the images into class folders: {found['train'].name}/CLASS/…; or, if these folders are the classes, "
        f"{setting('dataset.labels', 'folders')}"
    )
    if 1 < len(names) <= len(files) / 4 and "" not in names:
        fix = (
            f"their names begin with {len(names)} different words ({shown_names(sorted(names))}): if these are the "
            f"classes, {setting('dataset.labels', 'names')}; else {fix}"
        )
    if tables:
        fix = f"if a table has the classes, dataset=csv {setting('dataset.path', tables[0])}; else {fix}"
    return DataError(
        f"{shown(str(root))} holds {seen}, and the images lie in them without class folders, so that nothing tells "
        "their classes.",
        fix,
    )


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
    beside = [place for place in folders_in(root) if place not in splits.values()]
    for place in beside:
        count = _count(place)
        what = f"the folder {shown(place.name)}/ beside {splits['train'].name}/ is not used ({count} images)"
        layout.findings.append(Finding("beside", "note", what))
    return layout


def _is_unlabelled(folder: Folder, train: Folder) -> bool:
    """Whether a split has no classes: images alone, or nothing but one folder that is no class of train."""
    filled = [name for name, files in folder.classes.items() if files]
    known = any(name in train.classes for name in filled)
    return not filled or (not known and (len(filled) == 1 or bool(folder.loose)))


def _unlabelled(folder: Path) -> list[Finding]:
    count = _count(folder)
    if not count:
        return []
    what = f"{shown(folder.name)}/ has {count} images without class folders: they are unlabelled and not used"
    fix = f"once a run has finished: improve predict RUN {shlex.quote(str(folder))}"
    return [Finding("unlabelled", "note", what, fix)]


def _refuse_splits_beside_classes(root: Path) -> None:
    """Folders called val or test without a train folder. "train" alone may be a class, "test" hardly ever is."""
    called = [folder for folder, part, rest in _named_splits(root) if part != "train" and not rest]
    if not any(map(_has_images, called)):
        return
    others = [folder for folder in folders_in(root) if folder not in called and _has_images(folder)]
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
    places = [place for place in folders_in(root) if _has_images(place)]
    for place in places:
        names = {inner: SPLIT_NAMES.get(inner.name.lower(), "") for inner in folders_in(place)}
        meaning = settled(set(names.values()))
        parts[place] = {meaning[part]: inner for inner, part in names.items() if part}
    if len(places) < 2 or not any("train" in found and len(found) > 1 for found in parts.values()):
        return None
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
            folder.classes.setdefault(name, []).extend(_files_below(parts[place][part], root, folder.ignored))
            folder.places.setdefault(name, []).append(place)
    layout.findings.append(Finding("inside", "note", "the splits are those inside of each class folder"))
    return layout


def _refuse_two_levels(root: Path, folder: Folder) -> None:
    """Raises `DataError` where all folders hold the same folders: fold1/cat, fold1/dog, fold2/cat, fold2/dog."""
    places = [place for name, some in folder.places.items() if folder.classes[name] for place in some]
    inside = [{class_name(inner) for inner in folders_in(place)} for place in places]
    if len(places) < 2 or any(map(images_in, places)) or len(inside[0]) < 2 or any(s != inside[0] for s in inside):
        return
    outer, inner = shown_names(sorted(folder.classes)), shown_names(sorted(inside[0]))
    raise DataError(
        f"Each of the folders in {shown(str(root))} ({outer}) holds the same folders ({inner}): which are the classes?",
        f"if the inner ones are: {setting('dataset.labels', 'parents')}; if the outer ones are: "
        f"{setting('dataset.labels', 'folders')}",
    )


def images_in(folder: Path) -> list[str]:
    """Names of the image files that lie directly in a folder."""
    return [entry.name for entry in _entries(folder) if is_image(entry.name) and not entry.is_dir()]


def _add_loose(folder: Folder) -> None:
    """Files beside the class folders."""
    for entry in _entries(folder.root):
        if not entry.is_dir():
            if is_image(entry.name):
                folder.loose.append(entry.name)
            else:
                folder.ignored[_kind(entry.name)] += 1


def _count(folder: Path) -> int:
    return len(_files_below(folder, folder, Counter()))


def _files_below(place: Path, root: Path, ignored: Counter[str]) -> list[str]:
    """Paths, relative to `root` and sorted, of the files below a folder that are named like images."""
    files: list[str] = []
    for folder, names in walk(place, _refuse):
        for name in names:
            if is_image(name):
                files.append(os.path.relpath(folder / name, root))
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


def _refuse(error: OSError) -> None:
    folder = shown(str(error.filename))
    raise DataError(
        f"The folder {folder} cannot be listed ({error.strerror}).",
        f"make it readable: chmod -R u+rX {shlex.quote(folder)}",
    ) from error


def _kind(name: str) -> str:
    """How an ignored file is counted."""
    return "hidden" if name.startswith(".") else os.path.splitext(name)[1].lower() or "without an extension"


def kinds(ignored: Iterable[tuple[str, int]]) -> str:
    """Ignored files as a part of a sentence: "3 .txt, 1 hidden"."""
    return ", ".join(f"{count} {shown(kind)}" for kind, count in ignored)


def extensions() -> str:
    """Some of the extensions that images have."""
    return f"{', '.join(sorted(IMAGE_EXTENSIONS)[:8])}, …"
