"""Which installed packages generated code sees: those that its contract names, what these need, and nothing beside.

Worked out from the packages' metadata: a folder of packages may hold anything, the user's own project among it. Data
sets that ride along in packages (scikit-learn's digits, the files of test suites) are hidden: a task may be made of
them.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.requirements import Requirement

ALLOWED: Final = {  # distribution → what is imported of it
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "pytorch-lightning": "pytorch_lightning",
    "torchmetrics": "torchmetrics",
    "numpy": "numpy",
    "pillow": "PIL",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
}
_also: list[str] = []  # distributions
# fmt: off
_DATA: Final = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".wav", ".csv", ".tsv", ".arff",
    ".parquet", ".feather", ".xls", ".xlsx", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".sav", ".nc",
    ".dat", ".data", ".fits", ".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz",
)
# fmt: on
_CODE: Final = (".py", ".so", ".pyd")
_TESTS: Final = ("test", "tests")
# What code needs although it looks like data, or though it lies among tests; relative to the folder of packages.
_NEEDED: Final = ("scipy/stats/_sobol_direction_numbers.npz", "networkx/generators/atlas.dat.gz", "numpy/_core/tests")


@dataclass(frozen=True)
class Tree:
    """A file, or a folder without what is `hidden` below it."""

    path: Path
    hidden: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Packages:
    """`folders`: by folder of packages, the names in it that can be imported or describe what can be."""

    trees: tuple[Tree, ...]
    folders: Mapping[Path, frozenset[str]]
    libraries: tuple[Path, ...]  # the extension modules and libraries that the trees hold


def allow(distributions: Iterable[str]) -> None:
    """Have the sandboxes of this process show further distributions. To be called before the first one is made."""
    _also.extend(distributions)
    packages.cache_clear()


@functools.cache
def packages() -> Packages:
    """Those of this interpreter. What is missing is left out: its import says so."""
    entries: dict[Path, set[str]] = {}
    for found in _with_needed((*ALLOWED, *_also)):
        for folder, name in _entries(found):
            entries.setdefault(folder, set()).add(name)
    trees: list[Tree] = []
    libraries: list[Path] = []
    for folder, names in entries.items():
        for name in sorted(names):
            hidden: list[Path] = []
            _look(folder / name, str(folder), hidden, libraries)
            trees.append(Tree(folder / name, tuple(hidden)))
    folders = {folder: frozenset(name.split("/")[0] for name in names) for folder, names in entries.items()}
    return Packages(tuple(trees), folders, tuple(libraries))


def top_level() -> frozenset[str]:
    """The names that can be imported."""
    names = (name for found in packages().folders.values() for name in found)
    return frozenset(name.split(".")[0] for name in names if not name.endswith((".dist-info", ".egg-info", ".libs")))


def _with_needed(names: Iterable[str]) -> list[Distribution]:
    """The distributions of these names and all that they need on this machine."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", name).lower(), extra)
        if key in seen:
            continue
        seen.add(key)
        try:
            found[key[0]] = distribution(name)
        except PackageNotFoundError:
            continue
        for line in found[key[0]].requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, further) for further in ("", *needed.extras)]
    return list(found.values())


def _entries(found: Distribution) -> Iterator[tuple[Path, str]]:
    """What a distribution has put into its folder of packages: that folder, and paths in it."""
    root = Path(str(found.locate_file("")))
    record = found.read_text("RECORD")
    if record is None or _is_editable(found):
        yield from _by_import(found, root)
        return
    paths = (PurePosixPath(line.split(",")[0].strip('"')) for line in record.splitlines() if line)
    kept = [path.parts for path in paths if path.parts and path.parts[0] not in ("..", "/", "__pycache__")]
    # A folder without __init__.py is shared with other distributions: nvidia/cublas, nvidia/cudnn.
    shared = {
        parts[0]
        for parts in kept
        if len(parts) > 2 and "." not in parts[0] and not os.path.exists(root / parts[0] / "__init__.py")
    }
    names = {"/".join(parts[: 2 if parts[0] in shared else 1]) for parts in kept}
    yield from ((root, name) for name in names if not name.endswith(".pth") and os.path.exists(root / name))


def _is_editable(found: Distribution) -> bool:
    origin = found.read_text("direct_url.json")
    return origin is not None and bool(json.loads(origin).get("dir_info", {}).get("editable"))


def _by_import(found: Distribution, root: Path) -> Iterator[tuple[Path, str]]:
    """Where its import names are found: distributions of the system's packages, of conda, and editable ones."""
    name = found.metadata["Name"]
    listed = (found.read_text("top_level.txt") or "").split()
    for top in listed or [ALLOWED.get(name.lower(), name.replace("-", "_"))]:
        spec = importlib.util.find_spec(top)
        if spec is None:
            continue
        places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
        yield from ((Path(place).parent, Path(place).name) for place in places if os.path.isabs(place))
    pattern = re.compile(re.escape(re.sub(r"[-_.]+", "_", name)) + r"-.*\.(dist|egg)-info$", re.IGNORECASE)
    yield from ((root, entry) for entry in os.listdir(root) if pattern.match(entry))


def _look(path: Path, root: str, hidden: list[Path], libraries: list[Path]) -> None:
    """Find the libraries below a path, and what is to be hidden there."""
    if not path.is_dir():
        if ".so" in path.name:
            libraries.append(path)
        return
    files: list[Path] = []
    folders: list[Path] = []
    with os.scandir(path) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else files).append(Path(entry.path))
    data = [file for file in files if file.name.lower().endswith(_DATA)]
    code = [file for file in files if file.name.endswith(_CODE) and file.name != "__init__.py"]
    relative = os.path.relpath(path, root)
    if (data and not code) or (path.name in _TESTS and relative not in _NEEDED and _holds_data(path)):
        hidden.append(path)
        return
    hidden += [file for file in data if os.path.relpath(file, root) not in _NEEDED]
    libraries += [file for file in files if ".so" in file.name]
    for folder in folders:
        _look(folder, root, hidden, libraries)


def _holds_data(path: Path) -> bool:
    return any(name.lower().endswith(_DATA) for _, _, files in os.walk(path) for name in files)
