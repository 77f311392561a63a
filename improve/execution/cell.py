"""A cell: one sandbox with a worker in it that has imported its libraries and waits for commands.

The worker is a fork of a process that imports once (`new_zygote`) and never runs generated code: each cell starts from
nothing. A cell sees fixed folders for its whole life; what they hold may be written after it has started.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.schema import ExecutorConfig
from improve.domain import Failure, Reason
from improve.execution.lanes import Lane
from improve.execution.place import Place
from improve.execution.status import StatusReader, failure_of
from improve.sandbox import Confined, Launch, Limits, Sandbox, Zygote

TEMPLATE = Path(__file__).resolve().parent.parent / "pipeline" / "template"
STATUS, DATA = 3, 4  # descriptors of a worker: events, and what a command gives back
START_SECONDS = 180.0  # for the start of a worker, on a busy machine
READ = 1 << 20
GIB = 1024**3
MIB = 1024**2
GPUS_GIVEN = ("CUDA_VISIBLE_DEVICES",)
KILLED_FOR = {"memory": Reason.OUT_OF_MEMORY, "disk": Reason.DISK}


@dataclass
class Outcome:
    """How a command ended. `data` is what came through the data pipe, at most one byte more than was asked for."""

    failure: Failure | None = None
    data: bytes = b""
    seconds: float = 0.0


class Cell:
    """One worker in one sandbox. `run` may be called again as long as `alive`, but what it left behind is then there.

    `log` takes what it prints.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        zygote: Zygote,
        place: Place,
        *,
        readable: Sequence[Path],
        limits: Limits,
        log: Path | None,
        devices: Sequence[Path],
    ) -> None:
        status_read, status_write = os.pipe()
        data_read, data_write = os.pipe()
        self.place, self._limits = place, limits
        self.lane = Lane()  # what the next commands have of the machine
        self._status, self._data = status_read, data_read
        self._reader = StatusReader()
        self._ready = False
        self._closed = False
        try:
            launch = Launch(
                readable=[TEMPLATE, place.pipeline, place.weights, *readable],
                work=place.work,
                cwd=place.pipeline,
                env=worker_environment(),
                limits=limits,
                devices=devices,
            )
            descriptors = {STATUS: status_write, DATA: data_write}
            self._confined: Confined = sandbox.fork(zygote, launch, log, descriptors)
        except BaseException:
            os.close(status_read)
            os.close(data_read)
            place.remove()
            raise
        finally:
            os.close(status_write)
            os.close(data_write)

    @property
    def alive(self) -> bool:
        return self._confined.poll() is None

    @property
    def packets(self) -> int:
        """The descriptor of its network device; see `Limits.address`."""
        assert self._confined.packets is not None
        return self._confined.packets

    def warm_up(self) -> Outcome:
        """Wait until the worker runs; a failure is told again by `run`."""
        outcome = Outcome()
        if not self._ready:
            # From now on, not from the start: that may have been a whole training ago.
            self._pump(outcome, time.monotonic() + START_SECONDS, "ready", lambda event: None, 0)
            self._ready = outcome.failure is None
        return outcome

    def run(
        self,
        command: Mapping[str, Any],
        seconds: float,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        data_bytes: int = 0,
    ) -> Outcome:
        """Carry out one command within `seconds` (after the worker is ready). Anything odd becomes a failure."""
        outcome = self.warm_up()
        if outcome.failure:
            return outcome
        started = time.monotonic()
        line = json.dumps({**command, "descriptor": DATA}) + "\n"
        try:
            self._confined.stdin.write(line.encode())
        except BrokenPipeError:
            outcome.failure = self._ended()
            return outcome
        self._pump(outcome, started + seconds, "end", on_event, data_bytes)
        outcome.seconds = round(time.monotonic() - started, 3)
        return outcome

    def _pump(
        self, outcome: Outcome, deadline: float, until: str, on_event: Callable[[dict[str, Any]], None], wanted: int
    ) -> None:
        """Read both pipes until the event `until`, the deadline, or the end of the sandbox."""
        error: Failure | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            selector.register(self._data, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.kill()
                    outcome.failure = Failure(Reason.TIMEOUT, "not finished at the hard time limit; it was stopped.")
                    return
                for key, _ in selector.select(min(left, 0.5)):
                    if key.fd == self._data:
                        if not self._take(outcome, wanted):
                            selector.unregister(self._data)
                        continue
                    received = os.read(self._status, READ)
                    if not received:
                        selector.unregister(self._status)
                    for event in self._reader.feed(received):
                        kind = event.get("event")
                        if kind == "error":
                            error = failure_of(event)
                        elif kind == until:
                            self._drain(outcome, wanted)
                            outcome.failure = self._verdict(event, error)
                            return
                        else:
                            on_event(event)
                if self._reader.flooded or len(outcome.data) > wanted:
                    self.kill()
                    outcome.failure = Failure(Reason.PREDICTIONS, "more output than was asked for; it was stopped.")
                    return
                if not self.alive:
                    outcome.failure = error or self._ended()
                    return

    def _take(self, outcome: Outcome, wanted: int) -> int:
        """How many bytes there were; 0 at the end of the pipe."""
        received = os.read(self._data, max(1, min(READ, wanted + 1 - len(outcome.data))))
        outcome.data += received
        return len(received)

    def _drain(self, outcome: Outcome, wanted: int) -> None:
        """What is still in the data pipe when the command has ended."""
        os.set_blocking(self._data, False)
        try:
            while len(outcome.data) <= wanted and self._take(outcome, wanted):
                pass
        except BlockingIOError:
            return
        finally:
            os.set_blocking(self._data, True)

    def _verdict(self, event: Mapping[str, Any], error: Failure | None) -> Failure | None:
        if event.get("event") == "ready" or (event.get("exit") == 0 and event.get("signal") == 0 and not error):
            return None
        if self._confined.killed_for:
            return self._ended()
        if error:
            return error
        if event.get("signal"):
            return Failure(Reason.CRASH, f"the code was ended by signal {event.get('signal')!s:.3}.")
        return Failure(Reason.CRASH, f"the code ended with exit code {event.get('exit')!s:.3} and no message.")

    def _ended(self) -> Failure:
        """Why the sandbox is gone."""
        code = self._confined.wait(10.0)
        limit = self._confined.killed_for
        if limit:
            reason = KILLED_FOR.get(limit, Reason.CRASH)
            allowed = {"memory": self._limits.memory_bytes, "disk": self._limits.disk_bytes}.get(limit)
            than = f"the {allowed / GIB:.3g} GiB that it may" if allowed else "it may"
            return Failure(reason, f"the sandbox was stopped: it used more {limit} than {than}.")
        return Failure(Reason.CRASH, f"the sandbox ended with exit code {code}.")

    def kill(self) -> None:
        """End the sandbox and everything in it. Idempotent."""
        self._confined.kill()

    def take(self, name: str, target: Path, limit: int) -> None:
        """End the sandbox and copy a file of its work folder; see `Confined.take`."""
        self.kill()
        self._confined.take(name, target, limit)

    def close(self) -> None:
        """End the sandbox and remove its place. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._confined.release()
        self.place.remove()
        for descriptor in (self._status, self._data):
            os.close(descriptor)


def limits_of(config: ExecutorConfig) -> Limits:
    """What one cell may use."""
    return Limits(
        int(config.memory_gib * GIB), int(config.disk_gib * GIB), int(config.output_mib * MIB),
        shared_memory=config.workers > 0 or config.devices > 1, loopback=config.devices * config.num_nodes > 1,
    )  # fmt: skip


def new_zygote() -> Zygote:
    """The process whose forks are workers: it begins to import what they need at once."""
    return Zygote(TEMPLATE, "worker", worker_environment())


def worker_environment() -> dict[str, str]:
    """One thread until a training sets its own number: a worker that forks must not have started any.

    Which GPUs this process was given, those that it starts keep to.
    """
    return {
        **{name: os.environ[name] for name in GPUS_GIVEN if name in os.environ},
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_CACHE_DISABLE": "1",
    }
