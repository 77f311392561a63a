"""What the launchers share: runs become tasks, tasks outcomes; a run whose process dies costs that run's last steps."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from improve.config.invocation import STARTED_AS, typed
from improve.config.places import cache_folder
from improve.config.schema import Config
from improve.record.folders import folder_of
from improve.study.apart import PATIENCE, Task
from improve.study.outcome import Outcome
from improve.study.plan import to_checked
from improve.study.probe import probes


class StudyLauncher(Launcher):
    """A launcher of whole runs. Its options are the keys of `conf/hydra/launcher/NAME.yaml`, `hydra.launcher.KEY`."""

    several_machines = True  # whether a run may go to another one than this

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._hydra_context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """As Hydra asks for it. A study has composed its runs already and hands them to `carry_out`."""
        loader = self._hydra_context.config_loader
        self.check()
        composed = [loader.load_sweep_config(self._config, list(overrides)) for overrides in job_overrides]
        outcomes = self.carry_out([to_checked(values) for values in composed])
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=outcome) for outcome in outcomes]

    def carry_out(self, configs: Sequence[Config]) -> list[Outcome]:
        """What became of each run, in their order. Raises `ConfigError` before any of them is begun."""
        folders = {folder_of(config).parent for config in configs} | {cache_folder(one.cache_dir) for one in configs}
        with probes(sorted(folders) if self.several_machines else ()) as files:
            return self.run_all([_task(config, files, self.several_machines) for config in configs])

    @abstractmethod
    def check(self) -> None:
        """Raises `ConfigError` where what this launcher needs is not there."""

    @abstractmethod
    def run_all(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Carry out the tasks; a signal's exception ends those that have begun, and waits for their end."""


def _task(config: Config, files: tuple[Path, ...], several_machines: bool) -> Task:
    # Live views of several processes would overwrite each other: each line names its run.
    shown = config.display if config.display.mode == "none" else dataclasses.replace(config.display, mode="plain")
    return Task(
        config=dataclasses.replace(config, display=dataclasses.replace(shown, named=True)),
        place=Path.cwd(),
        typed=typed(),
        environment={STARTED_AS: os.environ[STARTED_AS]} if STARTED_AS in os.environ else {},
        probes=files,
        patience=PATIENCE if several_machines else 0.0,
    )
