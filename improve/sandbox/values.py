"""The values of a start: how strong the sandbox is, what a program may use, what it may see."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_THREADS_PER_CPU: Final = 8


class Tier(enum.Enum):
    """How strongly generated code is confined, strongest first. The value is one line for people.

    T2 (own namespaces, Landlock and seccomp, for machines with user namespaces but without bubblewrap) is left out.
    """

    T3 = "T3: bubblewrap (own file tree, processes, network and IPC; system call filter)"
    T1 = "T1: Landlock and seccomp (shares the machine's process table and temporary memory)"
    T0 = "T0: plain process (limits only: generated code can read and write what you can)"

    @property
    def verified(self) -> bool:
        """Whether scores of code that ran in this tier can be believed."""
        return self is not Tier.T0


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use, all its processes together."""

    memory_bytes: int  # resident memory, swap, and files in /tmp (T3) and /dev/shm
    disk_bytes: int  # in the writable folders; each file counts as 4 KiB at least
    output_bytes: int  # of stdout and stderr; the rest is dropped
    processes: int = 256  # at once
    # Whether it may use /dev/shm also where that is the machine's (T1): what lies there can carry something to later
    # sandboxes, and be overwritten by who knows its name.
    shared_memory: bool = True
    # Whether its processes may talk to each other over IPv4, where they have a network of their own: not in T1.
    loopback: bool = False
    # Its IPv4 address in a network that it has with sandboxes of other machines, in T3: whoever holds
    # `Confined.packets` carries what goes there. Needs `loopback`.
    address: str = ""
    compiler: bool = False  # whether it sees the system's C++ compiler and what that reads

    @property
    def tasks(self) -> int:
        """Threads at once, of all processes together: room for the pools of torch in a few of them."""
        return self.processes + _THREADS_PER_CPU * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One program to confine. All paths are absolute, exist, and mean the same inside as outside.

    It sees `readable`, `writable`, Python and the system's libraries, and nothing else; the two may be filled later.
    The environment is `env` and TMPDIR, HOME and XDG_CACHE_HOME, which point to a scratch folder that ends with the
    sandbox. Of our descriptors it has `pass_fds` alone. `devices` are those of GPUs.

    Without `argv` it is a fork of a zygote, which may write to `work` alone: an empty folder, to which nothing of what
    is written comes, for it ends with the sandbox; `Confined.take` gives files of it.
    """

    cwd: Path
    limits: Limits
    argv: Sequence[str] = ()
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    devices: Sequence[Path] = ()
    work: Path | None = None
