"""One run of a study in a process of its own, whichever launcher asks for it, on whichever machine.

Started as `python -m improve.study.apart ANSWER`: the task comes by its standard input, the run's outcome goes into the
file ANSWER. The process belongs to the one that started it: where that one ends, even by SIGKILL, the input ends too,
and the run stops as by a SIGTERM. Terminals do not reach it, so a Ctrl-C is what the launcher makes of it.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from improve.signals import ended_by_signals

if __name__ == "__main__":
    ended_by_signals()  # before the imports that take long

from improve.config import invocation
from improve.config.schema import Config
from improve.errors import ConfigError, ImproveError, Interrupted
from improve.record.folders import folder_of
from improve.study.outcome import Outcome, State, carry_out
from improve.study.probe import require_locks

GRACE = 60.0  # seconds that a run has to end its trainings and close its journal
PATIENCE = 30.0  # … and that the process of an earlier attempt has to leave the run's folder
LOOK = 0.2  # seconds between looks at the process
UNKNOWN_SIGNAL = "a signal"


@dataclass(frozen=True)
class Task:
    """A run, and what it needs to know of the process that asks for it: all that travels.

    `place` is the folder from which relative paths start. `probes` are files that the asking process has locked, on the
    file systems that several machines share. `patience`: seconds for which a folder that is in use is waited for.
    """

    config: Config
    place: Path
    typed: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[Path, ...] = ()
    patience: float = 0.0

    @property
    def name(self) -> str:
        return folder_of(self.config).name

    def with_environment(self, more: Mapping[str, str]) -> Task:
        return dataclasses.replace(self, environment={**self.environment, **more})


class Apart:
    """The process of a run, which begins with this object. `code` is its exit code, once there is an outcome."""

    def __init__(self, task: Task) -> None:
        self._name, self.code = task.name, 0
        if not task.place.is_dir():
            raise ConfigError(
                f"{task.place} is not there on {os.uname().nodename}: the study was started in that folder.",
                "start it in a folder that all machines share",
            )
        answer, self._answer = tempfile.mkstemp(prefix="improve-outcome-")
        os.close(answer)
        # A session of its own: not in reach of the terminal's Ctrl-C, which the launcher passes on.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "improve.study.apart", self._answer],
            stdin=subprocess.PIPE,
            cwd=task.place,
            env={**os.environ, **task.environment},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        try:
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: `outcome` says so

    def outcome(self) -> Outcome:
        """Wait for the run's end. Whatever ends the waiting (an exception of a signal's) ends the run, too."""
        try:
            # In steps: what Ray ends a task with does not wake a wait without end.
            while (code := self._process.poll()) is None:
                time.sleep(LOOK)
            self.code = code
            sent = Path(self._answer).read_bytes()
        finally:
            self.stop()
            self.ended()
            Path(self._answer).unlink(missing_ok=True)
        if sent:
            answered = pickle.loads(sent)
            assert isinstance(answered, Outcome)
            return answered
        return Outcome(self._name, State.STOPPED, _how(self.code))

    def stop(self) -> None:
        """Ask the run to stop, as Ctrl-C does."""
        if self._process.poll() is None:
            self._process.terminate()

    def ended(self) -> None:
        """Wait for the end of the process, and make one if it takes too long."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _how(code: int) -> str:
    """How a process ended that left no outcome."""
    number = -code if code < 0 else code - 128
    if number <= 0:
        return f"its process ended with exit code {code}"
    known = {one.value: one.name for one in signal.Signals}
    return f"its process was ended by {known.get(number, UNKNOWN_SIGNAL)}"


def main() -> int:
    """Carry out the run that comes by the standard input."""
    asking = _own_input()
    with os.fdopen(os.dup(asking), "rb") as given:
        task = pickle.load(given)
    threading.Thread(target=_stop_without, args=(asking,), daemon=True).start()
    # What schedulers send before they take a machine away.
    signal.signal(signal.SIGUSR2, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    invocation.remember(task.typed)
    try:
        outcome = _carried_out(task)
    except Interrupted as stopped:
        return stopped.exit_code
    Path(sys.argv[1]).write_bytes(pickle.dumps(outcome))
    return 0


def _own_input() -> int:
    """Our standard input, away from what the run starts: those get an empty one."""
    apart = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return apart


def _stop_without(asking: int) -> None:
    """Stop this process when the one that asked for it has gone."""
    while os.read(asking, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _carried_out(task: Task) -> Outcome:
    try:
        require_locks(task.probes)
    except ImproveError as error:
        return Outcome.failed(task.name, error)
    until = time.monotonic() + task.patience
    while True:
        outcome = carry_out(task.config)
        if not outcome.in_use or time.monotonic() > until:
            return outcome
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
