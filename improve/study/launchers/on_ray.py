"""`hydra/launcher=ray`: runs as tasks of a Ray cluster, or of a Ray that is started on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from improve.config.invocation import install_extra
from improve.errors import ConfigError
from improve.study.apart import Apart, Task
from improve.study.launchers.launcher import StudyLauncher
from improve.study.outcome import Outcome, State

STORE_BYTES = 100 * 2**20  # what travels are settings and outcomes


class RayLauncher(StudyLauncher):
    """`address`: of a cluster (HOST:PORT, or auto: the one this machine belongs to); None: a Ray of this study's own.

    Each run asks for `num_cpus` and `num_gpus` (None: 1 where the cluster has any). One whose worker or node dies is
    begun again `max_retries` times, and goes on where its journal ends.
    """

    def __init__(self, address: str | None, num_cpus: float, num_gpus: float | None, max_retries: int) -> None:
        self._address, self._retries = address, max_retries
        self._resources = {"num_cpus": num_cpus, **({} if num_gpus is None else {"num_gpus": num_gpus})}
        self.several_machines = address is not None

    def check(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("hydra/launcher=ray needs Ray, which is not installed.", install_extra("ray"))

    def run_all(self, tasks: Sequence[Task]) -> list[Outcome]:
        import ray

        with self._connected() as cluster:
            remote = ray.remote(max_retries=self._retries, **self._resources)(_carried_out)
            print(f"Ray: {cluster}", flush=True)
            asked = {remote.remote(task): task for task in tasks}
            # Another thread waits: an exception of a signal in the middle of Ray's own code would be a SystemError.
            with ThreadPoolExecutor(1) as waiting:
                outcomes = waiting.submit(lambda: [_outcome(reference, task) for reference, task in asked.items()])
                try:
                    return outcomes.result()
                except BaseException:
                    for reference in asked:
                        ray.cancel(reference)
                    raise

    @contextmanager
    def _connected(self) -> Iterator[str]:
        """A connection to the cluster; gives a sentence on it. Raises `ConfigError` if there is none."""
        # A study's own Ray tells nobody that it is used, as everything here.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        try:
            # Without an address Ray would take any cluster that it finds on this machine.
            ray.init(self._address or "local", logging_level=logging.WARNING, **({} if self._address else own))
        except (ConnectionError, ValueError) as error:
            raise ConfigError(
                f"Ray has no cluster at {self._address}: {str(error).splitlines()[0]}",
                "give another hydra.launcher.address=HOST:PORT, or start one: ray start --head",
            ) from None
        except Exception as error:
            if type(error) is not Exception:  # Ray's own for a start of which it has waited 30 seconds in vain
                raise
            raise ConfigError(
                f"Ray could not be started: {str(error).splitlines()[0]}",
                "start one when this machine is less busy: ray start --head; then add hydra.launcher.address=auto",
            ) from None
        try:
            there = ray.cluster_resources()
            self._resources.setdefault("num_gpus", min(1, there.get("GPU", 0)))
            for name, key in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
                if self._resources[name] > there.get(key, 0):
                    raise ConfigError(
                        f"hydra.launcher.{name}={self._resources[name]:g}, and Ray has {there.get(key, 0):g} in all.",
                        f"ask for less: hydra.launcher.{name}={there.get(key, 0):g}",
                    )
            yield f"{len(ray.nodes())} nodes, {there.get('CPU', 0):g} CPUs, {there.get('GPU', 0):g} GPUs"
        finally:
            ray.shutdown()


def _carried_out(task: Task) -> Outcome:
    """In a worker of Ray, which ends its tasks by an exception or by its own end: the run ends with both."""
    return Apart(task).outcome()


def _outcome(reference: Any, task: Task) -> Outcome:
    import ray

    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, ConfigError) else None
        if cause is None:
            raise
        return Outcome.failed(task.name, cause)
    except ray.exceptions.RayError as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Outcome(task.name, State.STOPPED, f"Ray lost its worker: {why}")
    assert isinstance(outcome, Outcome)
    return outcome
