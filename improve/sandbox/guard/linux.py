"""The few Linux calls that Python has no function for, through ctypes."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_SECUREBITS: Final = 28
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3: Final = 0x20080522
_NOROOT_LOCKED: Final = 0b1111  # SECBIT_NOROOT and SECBIT_NO_SETUID_FIXUP, both locked


def syscall(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call the kernel. Raises `OSError` with its error number."""
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int = 0) -> None:
    """Raises `OSError`. The unused arguments are zero, as the newer options demand."""
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def drop_privileges(user: int | None = None) -> None:
    """Give up every capability, now and after every exec, also for uid 0; go on as `user`. Raises `OSError`."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if os.geteuid() == 0:
        _forget_root()
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = buffer(_CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4))
    syscall(_CAPSET[os.uname().machine], header, buffer(bytes(24)))


def _forget_root() -> None:
    """Empty the bounding set and switch off what makes uid 0 special. A container may have taken CAP_SETPCAP away;
    no_new_privs alone then keeps an exec from gaining anything."""
    try:
        prctl(PR_SET_SECUREBITS, _NOROOT_LOCKED)
        for capability in range(64):
            prctl(PR_CAPBSET_DROP, capability)
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EINVAL):  # EINVAL: past the last capability
            raise


def enter(namespace: int) -> None:
    """Join the namespace behind a descriptor. Raises `OSError`."""
    if _libc.setns(namespace, 0) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def buffer(content: bytes) -> ctypes.Array[ctypes.c_char]:
    """Memory that a call can be pointed at, a NUL behind it."""
    return ctypes.create_string_buffer(content, len(content) + 1)
