"""The common part of the tiers: what a start needs, checked and made ready."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from improve.errors import SandboxError
from improve.sandbox.confined import Confined
from improve.sandbox.log import LogPump
from improve.sandbox.values import Launch, Tier
from improve.sandbox.zygote import Zygote


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

    def start(self, launch: Launch, log: Path | None = None) -> Confined:
        """Start a program; `log` takes its stdout and stderr. May be called from any thread.

        Raises `SandboxError`, and `ValueError` for paths that contradict each other.
        """
        output, pump = _prepare(launch, log)
        with output:
            return self._launch(launch, output, pump)

    def fork(
        self, zygote: Zygote, launch: Launch, log: Path | None = None, descriptors: Mapping[int, int] | None = None
    ) -> Confined:
        """Like `start`, for a fork of a zygote. It has `descriptors` under the numbers that are their keys."""
        if launch.limits.address and self.tier is not Tier.T3:
            raise ValueError(f"{self.tier.name} has no network of its own")
        output, pump = _prepare(launch, log)
        source, sink = os.pipe()
        stdin = os.fdopen(sink, "wb", buffering=0)
        with output, os.fdopen(source, "rb"):
            given = {0: source, 1: output.fileno(), 2: output.fileno(), **(descriptors or {})}
            names = {str(number): descriptor for number, descriptor in given.items()}
            return self._fork(zygote, launch, names, stdin, output, pump)

    @abstractmethod
    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        """Start it with `output` as stdout and stderr; close `output` then, so that the log can end."""

    @abstractmethod
    def _fork(
        self,
        zygote: Zygote,
        launch: Launch,
        given: Mapping[str, int],
        stdin: BinaryIO,
        output: BinaryIO,
        log: LogPump,
    ) -> Confined:
        """Have the zygote fork it with the descriptors `given`. `stdin` is our end of one of them."""


def _prepare(launch: Launch, log: Path | None) -> tuple[BinaryIO, LogPump]:
    """What its output goes to, and the thread that writes it to the log."""
    _check(launch)
    source, sink = os.pipe()
    pump = LogPump(source, log, launch.limits.output_bytes)
    pump.start()
    return os.fdopen(sink, "wb"), pump


def _check(launch: Launch) -> None:
    work = [launch.work] if launch.work else []
    for path in (*launch.readable, *launch.writable, *work, *launch.devices, launch.cwd):
        if not path.is_absolute():
            raise ValueError(f"{path} is not absolute")
        if not path.exists():
            raise SandboxError(f"{path} does not exist, so it cannot be given to generated code.", "create it first")
    for inner in launch.readable:
        for outer in (*launch.writable, *work):
            if inner.is_relative_to(outer):
                raise ValueError(f"{inner} cannot be read-only: it lies in the writable {outer}")


def scratch_environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The program's whole environment."""
    return {**env, "TMPDIR": str(scratch), "HOME": str(scratch), "XDG_CACHE_HOME": str(scratch / ".cache")}
