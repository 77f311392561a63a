"""Whether generated code could run here: one cell, started for nothing else."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from improve.config.schema import ExecutorConfig
from improve.errors import SandboxError
from improve.execution import machine
from improve.execution.cell import Cell, limits_of, new_zygote
from improve.execution.place import Place
from improve.sandbox import Sandbox

SECONDS = 60.0


def try_out(sandbox: Sandbox, config: ExecutorConfig) -> None:
    """Import what generated code needs and start a worker. Raises `SandboxError` with what went wrong."""
    with tempfile.TemporaryDirectory(prefix="improve-trial-") as folder, closing(new_zygote()) as zygote:
        config = machine.here(config)
        place, devices = Place(Path(folder).resolve()), machine.gpu_devices(config)
        with closing(
            Cell(sandbox, zygote, place, readable=[], limits=limits_of(config), log=None, devices=devices)
        ) as cell:
            outcome = cell.run({"command": "look", "paths": [], "token": ""}, SECONDS)
    if outcome.failure:
        raise SandboxError(f"Generated code cannot run here: {outcome.failure.message}", "try sandbox=off to see more")
