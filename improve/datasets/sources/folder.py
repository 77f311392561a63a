"""A folder of labelled images: one folder for each class, or `train/`, `val/`, `test/` with class folders inside.

`improve/datasets/layout.py` says which other layouts are known. The splits follow the paper (section 4.1): a given test
set is the test set; else a given validation set is; else 20% of the images are. The selection split is the validation
set if a test set is there too, else a part of train. Class folders are searched to any depth. Files that are no images
are ignored and counted.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from improve.config.places import expanded
from improve.config.schema import DatasetConfig
from improve.datasets.files import from_files, shown, state
from improve.datasets.findings import Finding
from improve.datasets.labels import check_classes, folded, is_missing, shown_names, spelt_alike
from improve.datasets.layout import Layout, elsewhere, nested, recognise
from improve.datasets.other_forms import advice
from improve.datasets.source import Downloads, Source, Terms, given_part
from improve.datasets.tree import Folder, class_name, extensions, folders_in, kinds, setting
from improve.errors import DataError, nearest

TERMS = Terms(remove="remove its folder", unsplit="put the images of all splits into one folder for each class")
EXAMPLES = 5  # named in a message


def key(config: DatasetConfig, downloads: Downloads) -> str:
    """Names, sizes and times of all image files. Raises `DataError` for a folder that is no dataset."""
    layout = scan(find_root(config.path or ""), config)
    _odd_names(layout, config)
    return key_of(layout)


def key_of(layout: Layout) -> str:
    """Names, sizes and times of the image files that `scan` has found."""
    return "\n".join(
        f"{part} {name} {state(folder.root.resolve() / file for file in files)}"
        for part, folder in layout.parts.items()
        for name, files in folder.classes.items()
    )


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    layout = scan(find_root(config.path or ""), config)
    layout.findings += _odd_names(layout, config)
    return from_folders(layout)


def from_folders(layout: Layout) -> Source:
    """A source of the images that `scan` has found."""
    class_names = sorted(next(iter(layout.parts.values())).classes)
    paths: list[Path] = []
    labels: list[int] = []
    parts: list[int] = []
    for part, folder in layout.parts.items():
        for label, name in enumerate(class_names):
            paths += [folder.root / file for file in folder.classes[name]]
            labels += [label] * len(folder.classes[name])
            parts += [given_part(part, layout.parts)] * len(folder.classes[name])
    findings = [*_about_ignored(layout), *layout.findings]
    return from_files(paths, labels, parts, class_names, findings, terms=TERMS)


def find_root(given: str) -> Path:
    """The folder that the user named. Raises `DataError` if it is none, naming the nearest that exists."""
    root = expanded(given)
    if os.path.isdir(root):
        return root
    if os.path.lexists(root):
        table = f"; a table of images is read with dataset=csv {setting('dataset.path', root)}"
        raise DataError(
            f"dataset.path={given} is a file, not a folder.",
            "give the folder that holds the class folders" + (table if root.suffix in (".csv", ".tsv") else ""),
        )
    parent = next(path for path in (root.parent, *root.absolute().parents) if os.path.isdir(path))
    names = [entry.name for entry in folders_in(parent)]
    missing = root.absolute().relative_to(parent.absolute()).parts[0]
    hint = nearest(missing, names[:20]) if names else "it holds no folder at all"
    raise DataError(
        f"dataset.path={given} does not exist: there is no {missing!r} in {parent.absolute()}.",
        f"check the path; {hint}",
    )


def scan(root: Path, config: DatasetConfig) -> Layout:
    """The layout of a dataset's folder. Raises `DataError` for one that is not clear, no or a single class, an empty

    class, more images beside the class folders than in them, and parts that differ in their classes.
    """
    layout = recognise(root, config.labels)
    for folder in layout.parts.values():
        _check_classes(folder)
    for folder in layout.parts.values():
        _check_same(next(iter(layout.parts.values())), folder)
    return layout


def _check_classes(folder: Folder) -> None:
    """Refuses a folder without classes, or with a single one, or an empty one."""
    place = shown(str(folder.root))
    filled = [name for name, files in folder.classes.items() if files]
    empty = [name for name, files in folder.classes.items() if not files]
    if not folder.classes:
        raise _none(folder)
    if len(folder.classes) == 1:
        raise _single(folder)
    if len(filled) == 1 and folder.places:
        inner = nested(folder.places[filled[0]][0])
        inside = "put the images of each class into a folder of its own"
        if inner:
            inside = f"if the classes are inside of it: {setting('dataset.path', inner)}"
        raise DataError(
            f"Of the {len(folder.classes)} folders in {place} only {filled[0]!r} holds images.",
            "; else ".join([*advice(folder.root), inside]),
        )
    if empty:
        seen = f"; they hold {kinds(folder.ignored.most_common(3))}" if folder.ignored else ""
        named = " ".join(shlex.quote(str(place)) for name in empty[:EXAMPLES] for place in folder.places[name])
        # Nobody's files are to be removed because they are of another kind.
        fix = f"remove the folder: find {named} -type d -empty -delete"
        if folder.ignored:
            fix = f"convert what they hold to PNG or JPEG, or move the folders away: {named}"
        raise DataError(
            f"{len(empty)} class folders in {place} hold no images: {shown_names(empty)}{seen}.",
            f"add images ({extensions()}) or {fix}",
        )
    if len(folder.loose) > sum(map(len, folder.classes.values())):
        raise DataError(
            f"{place} holds {len(folder.loose):,} images that lie in no class folder, more than there are in its "
            f"{len(folder.classes)} class folders.",
            "move them into the folders of their classes",
        )


def _none(folder: Folder) -> DataError:
    """Not a single folder: images, archives, tables or nothing."""
    seen = [f"{len(folder.loose):,} images itself"] if folder.loose else []
    seen += [kinds(folder.ignored.most_common(3))] if folder.ignored else []
    holds = f" (it holds {' and '.join(seen)})" if seen else ""
    by_hand = "put the images of each class into a folder that is named after the class"
    fix = "; else ".join([*advice(folder.root), *elsewhere(folder.root, folder.loose), by_hand])
    return DataError(f"{shown(str(folder.root))} has no class folders{holds}.", fix)


def _single(folder: Folder) -> DataError:
    name = next(iter(folder.classes))
    inner = next(filter(None, map(nested, folder.places.get(name, []))), None)
    inside = f"; if the classes are inside of it, use {setting('dataset.path', inner)}" if inner else ""
    by_hand = f"add a folder for each further class{inside}"
    return DataError(
        f"{shown(str(folder.root))} has one class folder only ({name!r}), but a classifier needs two.",
        "; else ".join([*advice(folder.root), by_hand]),
    )


def _check_same(train: Folder, folder: Folder) -> None:
    """Refuses a split whose classes are not those of train."""
    for lacking, having in ((folder, train), (train, folder)):
        missing = sorted(set(having.classes) - set(lacking.classes))
        if missing:
            raise _differing(lacking, having, missing)


def _differing(lacking: Folder, having: Folder, missing: list[str]) -> DataError:
    alike = {folded(name): name for name in lacking.classes}
    renamed = [(alike[folded(name)], name) for name in missing if folded(name) in alike]
    moves = [
        _command("mv", place, place.with_name(new)) for old, new in renamed for place in lacking.places.get(old, [])
    ]
    common = os.path.commonpath([lacking.root.absolute(), having.root.absolute()])
    but = f" (but {renamed[0][0]!r})" if renamed else ""
    return DataError(
        f"The class folders of {shown(common)} differ: {lacking.root.name}/ has no {shown_names(missing)}{but}.",
        f"rename: {'; '.join(moves)}"
        if moves
        else "give all of its folders the same class folders, or remove the split and share the images out anew",
    )


def _command(*words: object) -> str:
    return shlex.join(str(word) for word in words)


def _odd_names(layout: Layout, config: DatasetConfig) -> list[Finding]:
    """Class folders that are called like missing values, or twice the same. Raises `DataError` unless accepted."""
    counts: Counter[str] = Counter()
    for folder in layout.parts.values():
        counts.update({name: len(files) for name, files in folder.classes.items()})
    first = next(iter(layout.parts.values()))
    merges = []
    for group in spelt_alike(counts):
        kept = max(group, key=lambda name: counts[name])
        merges += [
            f"mv -n {shlex.quote(str(place))}/* {shlex.quote(str(folder.places[kept][0]))}/ && rmdir "
            f"{shlex.quote(str(place))}"
            for folder in layout.parts.values()
            for name in group
            if name != kept
            for place in folder.places.get(name, [])
            if kept in folder.places
        ]
    missing = [place for folder in layout.parts.values() for name in counts for place in folder.places.get(name, [])]
    missing = [place for place in missing if is_missing(class_name(place))]
    fixes = {
        "missing_labels": f"look what these images are, or leave them out: {_command('rm', '-r', *missing)}",
        "similar_classes": f"put them into one folder: {'; '.join(merges) or 'rename the files'}",
        "numeric_labels": "give classes, not quantities: for instance a folder for each range of the numbers",
        "several_labels": "put each image into the folder of one class",
    }
    return check_classes(counts, config, shown(str(first.root)), fixes)


def _about_ignored(layout: Layout) -> list[str | Finding]:
    ignored: Counter[str] = Counter()
    loose: list[str] = []
    for folder in layout.parts.values():
        ignored += folder.ignored
        loose += [str(folder.root / file) for file in folder.loose]
    found: list[str | Finding] = []
    if ignored:
        total = sum(ignored.values())
        found.append(f"entries that are no images, ignored: {total:,} ({kinds(ignored.most_common(5))})")
    if loose:
        what = f"images that lie in no class folder, left out: {len(loose):,}"
        fix = "move them into the folders of their classes, or remove them"
        found.append(Finding("loose", "warning", what, fix, tuple(map(shown, loose[:EXAMPLES]))))
    return found
