"""The common part of the tiers: what a start needs, checked and made ready."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from improve.errors import SandboxError
from improve.sandbox.confined import Confined
from improve.sandbox.log import LogPump
from improve.sandbox.values import Launch, Limits, Tier

PopenBytes = subprocess.Popen[bytes]


class Sandbox(ABC):
    """Starts programs in one tier. `how_to_improve` says why it is not a better one, and how to get there."""

    tier: Tier

    def __init__(self) -> None:
        self.how_to_improve = ""

    @property
    def description(self) -> str:
        """One line for people."""
        return self.tier.value

    @abstractmethod
    def missing(self) -> SandboxError | None:
        """What this machine visibly lacks for the tier. A start may still fail for reasons that only it shows."""

    def start(
        self,
        argv: Sequence[str],
        *,
        readable: Sequence[Path],
        writable: Sequence[Path],
        cwd: Path,
        env: Mapping[str, str],
        limits: Limits,
        log: Path | None = None,
        pass_fds: Sequence[int] = (),
        devices: Sequence[Path] = (),
    ) -> Confined:
        """Start a program that sees `readable`, `writable`, Python and the system's libraries, and nothing else.

        The paths must exist and mean the same inside. `readable` and `writable` may be filled later. The environment
        is `env` and TMPDIR, HOME and XDG_CACHE_HOME, which point to a scratch folder that ends with the sandbox.
        `log` takes stdout and stderr. Of our descriptors the program has `pass_fds` alone. `devices` are those of
        GPUs. May be called from any thread. Raises `SandboxError`, and `ValueError` for paths that contradict
        each other.
        """
        launch = Launch(
            list(argv), list(readable), list(writable), cwd, dict(env), limits, list(pass_fds), list(devices)
        )
        _check(launch)
        source, sink = os.pipe()
        with os.fdopen(sink, "wb") as output:
            pump = LogPump(source, log, limits.output_bytes)
            pump.start()
            return self._launch(launch, output, pump)

    @abstractmethod
    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        """Start it with `output` as stdout and stderr; close `output` then, so that the log can end."""


def _check(launch: Launch) -> None:
    for path in (*launch.readable, *launch.writable, *launch.devices, launch.cwd):
        if not path.is_absolute():
            raise ValueError(f"{path} is not absolute")
        if not path.exists():
            raise SandboxError(f"{path} does not exist, so it cannot be given to generated code.", "create it first")
    for inner in launch.readable:
        for outer in launch.writable:
            if inner.is_relative_to(outer):
                raise ValueError(f"{inner} cannot be read-only: it lies in the writable {outer}")


def scratch_environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The program's whole environment."""
    return {**env, "TMPDIR": str(scratch), "HOME": str(scratch), "XDG_CACHE_HOME": str(scratch / ".cache")}


class _Launcher:
    """Starts processes from one thread that lives as long as we do.

    The kernel takes the end of the thread that started a process for the death of its parent. A pool that starts
    sandboxes from threads of its own would lose them with each thread that ends.
    """

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "sandbox-launcher")

    def popen(self, argv: Sequence[str], output: BinaryIO, env: Mapping[str, str], fds: Sequence[int]) -> PopenBytes:
        """A process in a session of its own, so that Ctrl-C reaches it through us alone."""
        return self._thread.submit(
            subprocess.Popen,
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            pass_fds=fds,
            start_new_session=True,
        ).result()


LAUNCHER = _Launcher()
