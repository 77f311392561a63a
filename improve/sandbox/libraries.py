"""Which shared libraries programs and extension modules need, as the dynamic loader would find them."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_CACHE: Final = Path("/etc/ld.so.cache")
_MAGIC: Final = b"glibc-ld.so.cache1.1"
_FOLDERS: Final = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")  # what the loader tries last
_BY_NAME: Final = ("libgcc_s.so.1", "libnss_files.so.2")  # opened by the C library when threads unwind or users log in
_GPU: Final = ("libcuda.so", "libnvidia-", "libcudadebugger.so", "libnvcuvid.so")  # beginnings; they open each other
_NEEDED, _STRINGS, _RPATH, _RUNPATH = 1, 5, 15, 29  # tags of the dynamic section
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # kinds of segments


class _Elf(NamedTuple):
    needed: tuple[str, ...]
    folders: tuple[str, ...]  # where it has the loader look first
    loader: str  # the program that starts it; "" for a library


def needed(files: Iterable[Path], gpu: bool = False) -> list[Path]:
    """The libraries that these files load, and those load in turn, each as the loader names it.

    What cannot be found is left out: it is missing outside, too. `gpu`: those of the driver as well.
    """
    known = _known()
    found = [known[name] for name in _BY_NAME if name in known]
    found += [path for name, path in known.items() if gpu and name.startswith(_GPU)]
    waiting = [*found, *(str(file) for file in files)]
    seen = set(waiting)
    while waiting:
        elf = _read(waiting.pop())
        for path in (elf.loader, *(_find(name, elf.folders, known) for name in elf.needed)) if elf else ():
            if path and path not in seen:
                seen.add(path)
                waiting.append(path)
                found.append(path)
    return [Path(path) for path in found]


def _find(name: str, folders: Iterable[str], known: dict[str, str]) -> str:
    if "/" in name:
        return name
    for folder in folders:
        if os.path.exists(path := os.path.join(folder, name)):
            return os.path.normpath(path)
    if name in known:
        return known[name]
    return next((path for folder in _FOLDERS if os.path.exists(path := f"{folder}/{name}")), "")


@functools.cache
def _known() -> dict[str, str]:
    """The path of each library of the loader's cache; nothing where there is none (other C libraries than glibc)."""
    try:
        content = _CACHE.read_bytes()
    except OSError:
        return {}
    start = content.find(_MAGIC)
    if start < 0:
        return {}
    (count,) = struct.unpack_from("I", content, start + len(_MAGIC))
    found: dict[str, str] = {}
    for number in range(count):
        _, name, path = struct.unpack_from("iII", content, start + 48 + 24 * number)
        found.setdefault(_text(content, start + name), _text(content, start + path))
    return found


def _text(content: bytes, at: int) -> str:
    return os.fsdecode(content[at : content.index(b"\0", at)])


def _read(path: str) -> _Elf | None:
    """What a 64-bit ELF file says of itself; None for other files."""
    try:
        with open(path, "rb") as file:
            return _parse(file, os.path.dirname(os.path.realpath(path)))
    except (OSError, struct.error, ValueError):  # cut off, or no such file as it claims to be
        return None


def _parse(file: BinaryIO, origin: str) -> _Elf | None:
    header = file.read(64)
    if header[:5] != b"\x7fELF\x02":
        return None
    (table,) = struct.unpack_from("Q", header, 32)
    size, count = struct.unpack_from("HH", header, 54)
    file.seek(table)
    raw = file.read(size * count)
    # kind, flags, offset, address, physical address, size in the file, …
    segments = [struct.unpack_from("IIQQQQ", raw, size * number) for number in range(count)]
    parts = {}
    for kind in (_DYNAMIC, _INTERPRETER):
        place = next(((s[2], s[5]) for s in segments if s[0] == kind), (0, 0))
        file.seek(place[0])
        parts[kind] = file.read(place[1])
    entries = list(struct.iter_unpack("QQ", parts[_DYNAMIC][: len(parts[_DYNAMIC]) // 16 * 16]))
    address = next((value for tag, value in entries if tag == _STRINGS), 0)
    base = next((s[2] - s[3] for s in segments if s[0] == _LOAD and s[3] <= address < s[3] + s[5]), 0)

    def text(offset: int) -> str:
        file.seek(base + address + offset)
        return _text(file.read(4096) + b"\0", 0)

    paths = [folder for tag, value in entries if tag in (_RPATH, _RUNPATH) for folder in text(value).split(":")]
    folders = [path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for path in paths if path]
    loader = os.fsdecode(parts[_INTERPRETER].rstrip(b"\0"))
    return _Elf(tuple(text(value) for tag, value in entries if tag == _NEEDED), tuple(folders), loader)
