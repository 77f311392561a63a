"""`hydra/launcher=joblib`: runs side by side on this machine, handed out by joblib, each in a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from improve.study.apart import Apart, Task
from improve.study.launchers.launcher import StudyLauncher
from improve.study.outcome import Outcome, State


class JoblibLauncher(StudyLauncher):
    """`n_jobs` runs at a time, as joblib counts: -1 is one for each core. `gpus`: of which each has one to itself.

    joblib's own worker processes are not used: it ends all of them when one is killed.
    """

    several_machines = False

    def __init__(self, n_jobs: int, gpus: Sequence[int] | None = None) -> None:
        self._count = n_jobs
        self._gpus: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._limited = bool(gpus)
        for gpu in gpus or ():
            self._gpus.put(gpu)
        self._lock = threading.Lock()
        self._running: set[Apart] = set()
        self._stopping = False

    def check(self) -> None:
        """joblib comes with scikit-learn."""

    def run_all(self, tasks: Sequence[Task]) -> list[Outcome]:
        from joblib import Parallel, delayed  # it is slow to import

        try:
            return list(Parallel(n_jobs=self._count, backend="threading")(delayed(self._run)(task) for task in tasks))
        except BaseException:
            self._stop_all()
            raise

    def _run(self, task: Task) -> Outcome:
        gpu = self._gpus.get() if self._limited else None
        try:
            with self._lock:
                if self._stopping:
                    return Outcome(task.name, State.WAITING)
                shown = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
                run = Apart(task.with_environment(shown))
                self._running.add(run)
            outcome = run.outcome()
        finally:
            if gpu is not None:
                self._gpus.put(gpu)
        with self._lock:
            self._running.discard(run)
        return outcome

    def _stop_all(self) -> None:
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for run in running:
            run.stop()
        for run in running:
            run.ended()
