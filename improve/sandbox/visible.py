"""What a confined program sees beside the folders that it is given: Python, the system's libraries, a few devices."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

# Libraries and programs. On merged-/usr systems most are links into /usr; /nix and /gnu are whole systems elsewhere.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
# What the loader, the C library and OpenMP read. Nothing about users, hosts or networks.
SETTINGS: Final = (
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
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


@cache
def python() -> tuple[Path, ...]:
    """The folders and files of this interpreter and its packages, both as named and with links resolved."""
    folders = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *site.getsitepackages()]
    user = site.getusersitepackages()
    if user in sys.path:
        folders.append(user)
    found = {Path(folder) for folder in folders if os.path.isdir(folder)}
    found |= {folder.resolve() for folder in found}
    # each link on the way from the interpreter's name to its file
    hop = Path(sys.executable)
    while hop.is_symlink():
        found.add(hop)
        hop = Path(os.path.normpath(hop.parent / os.readlink(hop)))
    found.add(hop)
    return tuple(sorted(outermost(found - {Path("/")})))


def outermost(paths: Iterable[Path]) -> Iterator[Path]:
    """Those that lie in none of the others and not below the system's folders."""
    kept: list[Path] = [Path(folder) for folder in SYSTEM]
    for path in sorted(set(paths), key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(folder) for folder in kept):
            kept.append(path)
            yield path
