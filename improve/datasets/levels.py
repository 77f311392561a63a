"""Which of two levels of folders are the classes, where both could be: refused, with what was seen, never guessed.

fold1/cat, fold1/dog, fold2/cat, …   the same folders in several: are the inner ones the classes, or the outer ones?
cat, dog, all/cat, all/dog           the classes again in one of them: a copy as archives have them, or a class?
animals/cat, vehicles/car, …         the outer ones, and that is said
"""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from improve.datasets.files import shown
from improve.datasets.findings import Finding
from improve.datasets.labels import shown_names
from improve.datasets.tree import Folder, class_name, count_images, folders_in, has_images, images_in, setting
from improve.errors import DataError

SAMPLE = 50  # files of a copy that are compared
MOST_SPLITS = 3  # folders that may be splits under names which nobody foresaw


def settle(folder: Folder, is_split: Callable[[Path], bool]) -> list[Finding]:
    """Takes a copy of the classes out of `folder`, and says which level is meant. `DataError` where it is not clear."""
    found = _without_copy(folder)
    places = [place for name, some in folder.places.items() if folder.classes[name] for place in some]
    if len(places) < 2 or any(map(images_in, places)):
        return found
    inside = [_names_in(place, is_split) for place in places]
    refuse_shared(folder.root, sorted(folder.classes), inside)
    inner = sorted(set().union(*inside))
    if len(inner) > len(places):
        what = f"the classes are the outer folders; the images lie in folders inside of them ({shown_names(inner)})"
        fix = f"if those are the classes: {setting('dataset.labels', 'parents')}"
        found.append(Finding("nested", "note", what, fix))
    return found


def refuse_shared(root: Path, outer: list[str], inside: list[set[str]]) -> None:
    """Raises `DataError` where the folders `outer` have most of the folders `inside` of them in common."""
    times = Counter(name for names in inside for name in names)
    shared = sorted(name for name, count in times.items() if count > 1)
    if len(shared) < 2 or len(shared) < len(times) / 2:
        return
    splits = "; if the outer ones are splits, call them train, val and test" if len(outer) <= MOST_SPLITS else ""
    raise DataError(
        f"Each of the folders in {shown(str(root))} ({shown_names(outer)}) holds the same folders "
        f"({shown_names(shared)}): which are the classes?",
        f"if the inner ones are: {setting('dataset.labels', 'parents')}; if the outer ones are: "
        f"{setting('dataset.labels', 'folders')}{splits}",
    )


def _names_in(place: Path, is_split: Callable[[Path], bool]) -> set[str]:
    """What the folders in `place` that hold images are called; where these are splits, those in the splits."""
    filled = [inner for inner in folders_in(place) if has_images(inner)]
    if filled and all(map(is_split, filled)):
        filled = [below for inner in filled for below in folders_in(inner) if has_images(below)]
    return {class_name(inner) for inner in filled}


def _without_copy(folder: Folder) -> list[Finding]:
    """Leaves out a folder that holds the classes beside it again, file for file. `DataError` if they differ."""
    for name, (place, *others) in list(folder.places.items()):
        inner = {class_name(below): below for below in folders_in(place)}
        again = sorted(set(inner) & set(folder.classes) - {name})
        if others or images_in(place) or len(again) < 2 or len(again) < len(inner) / 2:
            continue
        if not _same(_files(folder, name), [file for one in again for file in _files(folder, one)]):
            raise DataError(
                f"{shown(str(place))} holds {shown_names(again)}, which are folders beside it, too: is it a split, or "
                "a class?",
                f"if its images belong to these classes: {setting('dataset.labels', 'parents')}; if it is a class: "
                f"{setting('dataset.labels', 'folders')}; else move it away",
            )
        del folder.classes[name], folder.places[name]
        what = f"{shown(place.name)}/ holds the same class folders with the same files again: a copy, not used"
        return [Finding("copy", "warning", f"{what} ({count_images(place)} images)")]
    return []


def _files(folder: Folder, name: str) -> list[Path]:
    return [folder.root / file for file in folder.classes[name]]


def _same(first: list[Path], second: list[Path]) -> bool:
    """Whether folders hold the same files: their names and those of their folders, and some of their contents."""
    ones, others = ({(path.parent.name, path.name): path for path in paths} for paths in (first, second))
    if set(ones) != set(others):
        return False
    some = sorted(ones)[:: max(1, len(ones) // SAMPLE)]
    return all(ones[key].is_file() and filecmp.cmp(ones[key], others[key], shallow=False) for key in some)
