"""From the cells of a table to image files: which paths are understood, and what to set where they lead nowhere.

A cell is a path from the images' folder (`dataset.image_root`, else the table's own), with `dataset.image_suffix` put
behind it. Where that is no file, these are tried: backslashes as in Windows; a name without an extension, if there is
just one image file of that name; with `dataset.image_root`, the ends of a path that was written somewhere else.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from improve.config.places import expanded
from improve.config.schema import DatasetConfig
from improve.datasets.files import shown
from improve.datasets.tree import setting
from improve.errors import DataError
from improve.pipeline.template.images import is_image, walk

FILE = re.compile(r"^file:(//)?", re.IGNORECASE)
ADDRESS = re.compile(r"^[a-z][a-z0-9+]+://", re.IGNORECASE)
SAMPLE = 50  # missing files that are searched for
MOST_FILES = 200_000  # that are looked through in the search
AGREEING = 0.9  # share of the files that were found, for which a setting must be right


class Resolver:
    """Finds the image files that the cells of a table name. `base`: the folder that paths start from."""

    def __init__(self, config: DatasetConfig, table: Path) -> None:
        self.base, self.suffix = _root(config, table), config.image_suffix
        self.elsewhere = config.image_root is not None
        self._names: dict[Path, dict[str, list[str]]] = {}

    def path(self, cell: str) -> Path:
        """The file that a cell names; where there is none, the path as it is written."""
        cell = unquote(FILE.sub("", cell)) if FILE.match(cell) else cell
        written = self.base / expanded(cell + self.suffix)
        if written.is_file():
            return written
        plain = cell.replace("\\", "/") + self.suffix
        candidates = [self.base / plain]
        if self.elsewhere:
            parts = [part for part in plain.split("/") if part]
            candidates = [self.base.joinpath(*parts[start:]) for start in range(len(parts))]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
            found = self._only_image_called(candidate)
            if found is not None:
                return found
        return written

    def _only_image_called(self, path: Path) -> Path | None:
        """The only image file of this name: in other letters (large, small), or with an extension behind it."""
        if path.parent not in self._names:
            names: dict[str, list[str]] = {}
            for name in os.listdir(path.parent) if path.parent.is_dir() else []:
                if is_image(name):
                    names.setdefault(os.path.splitext(name)[0].lower(), []).append(name)
                    names.setdefault(name.lower(), []).append(name)
            self._names[path.parent] = names
        found = self._names[path.parent].get(path.name.lower(), [])
        return path.with_name(found[0]) if len(found) == 1 else None


def resolved(cells: Sequence[str], config: DatasetConfig, table: Path) -> list[Path]:
    """The files that the cells of a column name, whether they exist or not. Raises `DataError` for addresses."""
    addresses = [cell for cell in cells if ADDRESS.match(cell) and not FILE.match(cell)]
    if addresses:
        raise DataError(
            f"{len(addresses):,} of {len(cells):,} rows of {shown(str(table))} hold addresses, not files "
            f"({addresses[0]}).",
            "download the images, write their file names into the table, and give their folder: dataset.image_root=DIR",
        )
    resolver = Resolver(config, table)
    return [resolver.path(cell) for cell in cells]


def hint(cells: Sequence[str], config: DatasetConfig, table: Path) -> str:
    """What leads from these cells, whose files are missing, to files below the table's folder; "" if there are none."""
    by_name: dict[str, list[Path]] = {}
    count = 0
    for folder, names in walk(table.parent, lambda error: None):
        count += len(names)
        for name in names:
            if is_image(name):
                by_name.setdefault(name, []).append(folder / name)
        if count > MOST_FILES:
            break
    by_stem: dict[str, list[Path]] = {}
    for name, paths in by_name.items():
        by_stem.setdefault(os.path.splitext(name)[0], []).extend(paths)
    sample = list(cells[:: max(1, len(cells) // SAMPLE)])
    found: Counter[tuple[Path, str]] = Counter()
    for cell in sample:
        parts = [part for part in cell.replace("\\", "/").split("/") if part]
        found.update(_ways(parts, by_name, by_stem))
    (root, suffix), times = found.most_common(1)[0] if found else ((table.parent, ""), 0)
    if times < AGREEING * len(sample):
        if not by_name:
            return ""
        example = os.path.relpath(min(path for paths in by_name.values() for path in paths), table.parent)
        return f"correct the paths: the image files there are called like {shown(example)}"
    settings = [setting("dataset.image_root", root)]
    if suffix or config.image_suffix:
        settings.append(setting("dataset.image_suffix", suffix))
    return f"there are image files of these names: {' '.join(settings)}"


def _ways(
    parts: Sequence[str], by_name: dict[str, list[Path]], by_stem: dict[str, list[Path]]
) -> set[tuple[Path, str]]:
    """Roots and suffixes with which one cell leads to a file, by as much of its path as possible."""
    name = parts[-1] if parts else ""
    candidates = [(path, "") for path in dict.fromkeys((*by_name.get(name, []), *by_stem.get(name, [])))]
    if name and not candidates:
        starting = [known for known in by_name if known.startswith(name)]
        candidates = [(path, known[len(name) :]) for known in starting for path in by_name[known]]
    common = [1 + _equal(path.parts[-2::-1], parts[-2::-1]) for path, _ in candidates]
    most = max(common, default=0)
    return {
        (Path(*path.parts[:-length]), suffix)
        for (path, suffix), length in zip(candidates, common, strict=True)
        if length == most
    }


def _equal(first: Sequence[str], second: Sequence[str]) -> int:
    """How many entries are equal, from the first on."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _root(config: DatasetConfig, table: Path) -> Path:
    """The folder that paths start from. Raises `DataError` if the given one does not exist."""
    if config.image_root is None:
        return table.parent
    given = expanded(config.image_root)
    beside = table.parent / given
    if given.is_dir() or beside.is_dir():
        return given if given.is_dir() else beside
    raise DataError(
        f"dataset.image_root={config.image_root} does not exist, neither here nor beside {shown(str(table))}.",
        "check it: it is the folder that the paths in the table start from",
    )
