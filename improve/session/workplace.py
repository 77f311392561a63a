"""Where a run's generated code runs, found before anything is spent: this machine, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.schema import Config
from improve.datasets import Dataset
from improve.execution import machine
from improve.execution.cell import new_zygote
from improve.execution.cluster.connection import Connection
from improve.execution.cluster.executor import NodeSandbox, RayExecutor
from improve.execution.local import LocalExecutor
from improve.sandbox import Sandbox, Tier, Zygote, choose


@dataclass
class Workplace:
    """A sandbox, and what else an executor needs there."""

    config: Config
    sandbox: Sandbox
    hardware: str  # in a line, for the roles and the journal
    zygote: Zygote | None = None
    connection: Connection | None = None

    @classmethod
    def find(
        cls, config: Config, before: Mapping[str, Any] | None, used: bool, say: Callable[[str], None]
    ) -> Workplace:
        """`before`: the `run` record of an earlier session. `used`: whether anything will run; else nothing starts.

        Raises `SandboxError` and `ClusterError`.
        """
        machine.check_compiler(config.executor)
        if config.executor.name != machine.RAY:
            sandbox = choose(config.sandbox.mode)
            machine.check_devices(config.executor, sandbox)
            return cls(config, sandbox, machine.description(config.executor), new_zygote() if used else None)
        connection = Connection(config.executor, config.sandbox.mode, say)
        if before and not used:
            return cls(config, NodeSandbox(Tier[before["tier"]]), before["hardware"], connection=connection)
        with ExitStack() as undo:
            undo.callback(connection.close)
            offer = connection.survey()
            sandbox = NodeSandbox(offer.tier, offer.how_to_improve)
            machine.check_devices(config.executor, sandbox)
            undo.pop_all()
        # The roles are told one thing in a whole run, whichever nodes there are.
        hardware = before["hardware"] if before else offer.hardware
        return cls(config, sandbox, hardware, connection=connection)

    def executor(
        self,
        dataset: Dataset,
        weights: Mapping[str, Mapping[str, Any]],
        folder: Path,
        phase: Callable[[int, str, str], None],
        note: Callable[[str, dict[str, Any]], None],
    ) -> LocalExecutor:
        """`note` as for `Journal.note`."""
        config, seed = self.config.executor, self.config.seed
        slots = machine.slots(config, self.config.strategy.candidates)
        if self.connection is None:
            return LocalExecutor(config, self.sandbox, dataset, weights, folder, seed, phase, self.zygote, slots)
        return RayExecutor(
            config, self.sandbox, dataset, weights, folder, seed, phase, slots=slots,
            connection=self.connection, hardware=self.hardware, note=note,
        )  # fmt: skip

    def close(self) -> None:
        """End what no executor has been made of."""
        if self.zygote:
            self.zygote.close()
        if self.connection:
            self.connection.close()
