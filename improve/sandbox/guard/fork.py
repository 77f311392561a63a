"""What a forked program does, confined or about to be, to start like one that was executed."""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

_APART: Final = 64  # above all numbers that a program is given


def take_descriptors(given: Mapping[str, int], spare: tuple[int, ...] = ()) -> None:
    """Put each descriptor to the number that is its name, and close all others but those in `spare`."""
    places = {int(name): descriptor for name, descriptor in given.items()}
    apart = {place: _duplicate(descriptor) for place, descriptor in places.items()}
    for place, descriptor in apart.items():
        os.dup2(descriptor, place, inheritable=True)
    keep({*places, *spare})


def keep(descriptors: Iterable[int]) -> None:
    """Close all others."""
    kept = sorted(descriptors)
    for low, high in zip([-1, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
        if low + 1 < high:  # an empty range from 0 would be taken for all
            os.closerange(low + 1, high)


def _duplicate(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, _APART)


def limit(limits: Mapping[str, int]) -> None:
    """Set resource limits, none above what is allowed now."""
    for name, value in limits.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def run(request: Mapping[str, Any], program: Callable[[], None]) -> NoReturn:
    """Call the program as if it had just been started in its folder and environment."""
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None  # an import may have asked for it
    program()
    os._exit(0)
