"""Landlock: which files a process and all its descendants may touch (Linux 5.13 and later, no privileges needed)."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence
from typing import Final

from . import linux

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_RIGHTS_SINCE: Final = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # by version of the interface
_TCP: Final = 0b11  # bind and connect, since version 4
_SCOPES: Final = 0b11  # abstract unix sockets and signals, since version 6

READ: Final = EXECUTE | READ_FILE | READ_DIR
WRITE: Final = (
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
    | REFER | TRUNCATE
)  # fmt: skip
DEVICE: Final = READ_FILE | WRITE_FILE | IOCTL_DEV
UNLISTED: Final = READ_FILE | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE | REFER  # /dev/shm: by exact name only
_FOR_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others make sense for folders alone


def version() -> int:
    """The kernel's version of the interface; 0 where Landlock is absent or switched off."""
    try:
        return linux.syscall(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(rules: Sequence[tuple[str, int]], known: int | None = None) -> None:
    """Confine the calling thread and what it starts to `rules`, pairs of a path and its rights.

    Everything else is denied. A path that does not exist is skipped. `known` lowers the version that is used, to try
    what an older kernel gives. Raises `OSError`. Needs no_new_privs.
    """
    abi = min(version(), known if known is not None else 7)
    handled = sum(rights for since, rights in _RIGHTS_SINCE.items() if since <= abi)
    attributes = struct.pack("QQQ", handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = linux.syscall(_CREATE_RULESET, linux.buffer(attributes), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        linux.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= _FOR_FILES
        rule = linux.buffer(struct.pack("=Qi", rights, target))
        linux.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(target)
