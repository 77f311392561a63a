"""What a confined program sees beside the folders that it is given: this interpreter, its standard library, the allowed
packages, the libraries of the system that these load, and a few settings. Nothing else of the disk.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from improve.sandbox import compiler, libraries
from improve.sandbox.packages import Packages, Tree, packages

# What the loader, the C library and OpenMP read. Nothing about users, hosts or networks.
SETTINGS: Final = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/lib/locale/C.utf8",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
GPU_SETTINGS: Final = ("/sys",)  # the drivers of GPUs look for their cards there
# fmt: off
PROC: Final = (  # T1 only: T3 has a /proc of its own
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/version", "/proc/filesystems",
    "/proc/devices", "/proc/modules", "/proc/sys/vm/overcommit_memory",
)
# fmt: on
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
PROGRAMS: Final = ("sh", "prlimit", "setpriv")  # that start a program inside
ALIASES: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")  # links into /usr on most systems
_STORES: Final = ("/nix/store", "/gnu/store")  # whole systems, whose libraries name each other by their full paths
_UNUSED: Final = ("_tkinter", "_curses", "nis", "readline")  # modules that bring many libraries for nothing
# Of the standard library's folder: other packages, and what comes with test data or needs a screen.
_NOT_STANDARD: Final = (
    "site-packages", "dist-packages", "test", "idlelib", "turtledemo", "tkinter", "ensurepip", "lib2to3",
)  # fmt: skip


@functools.cache
def trees(gpu: bool = False, compiling: bool = False) -> tuple[Tree, ...]:
    """What is shown, outer folders first; none lies in the shown part of another. `compiling`: a compiler, too.

    Each under the name by which programs look for it, and where that leads over links, under its real one.
    """
    shown = packages()
    python = [*interpreter(), *shown.trees]
    programs = [Path(path) for name in PROGRAMS if (path := shutil.which(name))]
    programs += compiler.programs() if compiling else []
    modules = [path for path in _standard_library().glob("lib-dynload/*.so") if not path.name.startswith(_UNUSED)]
    loading = [*programs, *modules, *shown.libraries, Path(os.path.realpath(sys.executable))]
    system = [*programs, *libraries.needed(loading, gpu)]
    system += [Path(path) for path in (*SETTINGS, *(GPU_SETTINGS if gpu else ()))]
    system += compiler.files() if compiling else []
    system += [Path(store) for store in _STORES if os.path.realpath(sys.executable).startswith(store)]
    places = {path.parent.resolve() / path.name for path in system if path.exists()}
    return tuple(_outermost([*python, *(_real(tree) for tree in python), *(Tree(place) for place in places)]))


def interpreter() -> Iterator[Tree]:
    """The interpreter's file with each link on the way to it, and its standard library."""
    hop = Path(sys.executable)
    settings = (hop.parent.parent / "pyvenv.cfg", hop.parent / "pyvenv.cfg")
    while True:
        yield Tree(hop)
        yield Tree(hop.parent.resolve() / hop.name)
        if not hop.is_symlink():
            break
        hop = Path(os.path.normpath(hop.parent / os.readlink(hop)))
    yield from (Tree(path) for path in settings if path.exists())
    standard = _standard_library()
    yield Tree(standard, tuple(standard / name for name in _NOT_STANDARD if (standard / name).is_dir()))
    apart = Path(sysconfig.get_path("platstdlib"))
    platform = Path(sys.base_exec_prefix, *apart.parts[len(Path(sys.exec_prefix).parts) :]) / "lib-dynload"
    if platform.is_dir() and not platform.is_relative_to(standard):
        yield Tree(platform)


def _standard_library() -> Path:
    return Path(os.__file__).parent


def listed() -> list[Path]:
    """Folders of which only some entries are shown, but whose names an import reads."""
    return [_standard_library().resolve(), *(folder.resolve() for folder in packages().folders)]


def parted() -> list[Path]:
    """Folders of packages in which something is hidden."""
    return [tree.path for tree in packages().trees if tree.hidden]


def in_sight(path: Path) -> Path | None:
    """The shown file or folder in which `path` lies; None if generated code does not see it."""
    real = path.resolve()
    return next(
        (
            tree.path
            for tree in trees()
            if real.is_relative_to(tree.path) and not any(real.is_relative_to(hidden) for hidden in tree.hidden)
        ),
        None,
    )


def _real(tree: Tree) -> Tree:
    """The tree under its real name, and so what is hidden in it."""
    return Tree(tree.path.resolve(), tuple(path.resolve() for path in tree.hidden))


def _outermost(found: Iterable[Tree]) -> Iterator[Tree]:
    kept: list[Tree] = []
    folders: dict[Path, Tree] = {}
    for tree in sorted(found, key=lambda tree: (len(tree.path.parts), tree.path)):
        around = next((folders[folder] for folder in (tree.path, *tree.path.parents) if folder in folders), None)
        if around is None or any(tree.path.is_relative_to(hidden) for hidden in around.hidden):
            folders[tree.path] = tree
            kept.append(tree)
    yield from kept


def python_path() -> list[tuple[str, list[str]]]:
    """The folders of packages in the order in which they are searched, each with the names that are shown."""
    shown: Packages = packages()
    order = {os.path.realpath(folder): place for place, folder in reversed(list(enumerate(sys.path)))}
    folders = sorted(shown.folders, key=lambda folder: order.get(os.path.realpath(folder), len(order)))
    return [(str(folder), sorted(shown.folders[folder])) for folder in folders]
