"""What a C++ compiler of the system consists of, asked of itself: for trainings whose steps are compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

INSTALL: Final = "apt-get install g++"
_DRIVERS: Final = ("g++", "gcc")  # the second one for Triton, with a GPU
_DIGEST: Final = "openssl"  # not needed: torch uses it to know compiled headers again
_PASSES: Final = ("cc1plus", "cc1", "collect2", "as", "ld")
# What is linked to every library, and what the linker's scripts name.
# fmt: off
_LINKED: Final = (
    "crt1.o", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1", "libgcc_s.so.1",
    "libpthread.a", "libdl.a", "librt.a", "libcuda.so",
)
# fmt: on
_HEADERS: Final = "/usr/include"


def missing() -> str:
    """What is not installed of what is needed: a name, or ""."""
    absent = next((name for name in (*_DRIVERS, "as", "ld") if _found(name) is None), "")
    return absent or ("" if _python_header().exists() else str(_python_header()))


def programs() -> list[Path]:
    """Those that are started."""
    passes = (_asked(f"-print-prog-name={name}") for name in _PASSES)
    found = [*map(_found, (*_DRIVERS, _DIGEST)), *(_found(name) if "/" not in name else Path(name) for name in passes)]
    return [path for path in found if path is not None and path.exists()]


def files() -> list[Path]:
    """Folders and files that these read: headers, the compiler's own files, what is linked."""
    own = [_asked("-print-libgcc-file-name"), _asked("-print-prog-name=cc1plus")]
    folders = [os.path.dirname(path) for path in own]
    linked = (_asked(f"-print-file-name={name}") for name in _LINKED)
    paths = [_HEADERS, str(_python_header().parent), *folders, *(path for path in linked if "/" in path)]
    return [Path(os.path.normpath(path)) for path in dict.fromkeys(paths) if path]


def _found(name: str) -> Path | None:
    """As a confined program finds it."""
    path = shutil.which(name, path=os.defpath)
    return Path(path) if path else None


def _asked(question: str) -> str:
    driver = _found("g++")
    if driver is None:
        return ""
    return subprocess.run([driver, question], capture_output=True, text=True, check=True).stdout.strip()


def _python_header() -> Path:
    return Path(sysconfig.get_path("include")) / "Python.h"
