"""`hydra/launcher=slurm`: each run is a job of Slurm, submitted by submitit as one task of an array.

What became of a job is asked of `squeue`, which every Slurm has; submitit asks `sacct`, which needs a database of
accounts and without one never says that a job has died. Jobs outlive the process that submitted them: the same command
finds those that still wait or run, and waits for them instead of submitting them again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from improve.config.invocation import install_extra, run_command
from improve.errors import ConfigError
from improve.record.folders import folder_of, make_folder
from improve.study.apart import GRACE, Apart, Task
from improve.study.launchers.launcher import StudyLauncher
from improve.study.outcome import Outcome, State

FOLDER = "slurm"  # in a study's folder: what submitit writes, and the logs of the jobs
SUBMITTED = "jobs.json"
ARRAY = 1000  # tasks; Slurm's own limit (MaxArraySize) is 1001 unless set otherwise
STOPPED = 143  # exit code of a run that was asked to stop
# Keys that submitit knows for any scheduler.
GENERIC = {key: key for key in ("name", "timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb")}
PAUSES = (1, 2, 5, 10, 30, 60, 120, 240, 480)  # seconds between questions that Slurm does not answer
TAKEN_AFTER = 300.0  # seconds, at most, after which a job that is taken away has gone


class SlurmLauncher(StudyLauncher):
    """`parameters` are submitit's, by its names (docs/scale.md lists the usual ones); null: the cluster's default.

    A job that comes to its time limit is queued again, `max_num_timeout` times; one that is preempted or requeued, as
    often as that happens. `poll_seconds`: how often the queue is looked at.
    """

    def __init__(self, poll_seconds: float, max_num_timeout: int, **parameters: Any) -> None:
        self._poll, self._timeouts = poll_seconds, max_num_timeout
        self._parameters = {key: value for key, value in parameters.items() if value is not None}

    def check(self) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise ConfigError("hydra/launcher=slurm needs submitit, which is not installed.", install_extra("slurm"))
        missing = [program for program in ("sbatch", "squeue", "scancel") if shutil.which(program) is None]
        if missing:
            raise ConfigError(
                f"Slurm's {missing[0]} is not on this machine.",
                "start the study where jobs are submitted; on one machine: hydra/launcher=joblib",
            )

    def run_all(self, tasks: Sequence[Task]) -> list[Outcome]:
        from submitit.core.utils import JobPaths, pickle_load

        folders = {task.name: folder_of(task.config).parent / FOLDER for task in tasks}
        jobs = self._submitted(tasks, folders)
        try:
            self._wait(set(jobs.values()))
        except BaseException:
            _cancel(jobs.values())
            raise
        outcomes = []
        for task in tasks:
            paths = JobPaths(folders[task.name], job_id=jobs[task.name], task_id=0)
            how, result = pickle_load(paths.result_pickle) if paths.result_pickle.is_file() else ("nothing", None)
            if how != "success":
                log = f"its job ended without an answer; its log: {paths.stderr}"
                result = Outcome(task.name, State.STOPPED, log)
            assert isinstance(result, Outcome)
            outcomes.append(result)
        return outcomes

    def _submitted(self, tasks: Sequence[Task], folders: Mapping[str, Path]) -> dict[str, str]:
        """The job of each run, by name: those that an earlier process submitted and that go on, and new ones."""
        queued = _queue()
        jobs: dict[str, str] = {}
        for folder in sorted(set(folders.values())):
            here = [task for task in tasks if folders[task.name] == folder]
            make_folder(folder)
            record = folder / SUBMITTED
            known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
            jobs |= {task.name: known[task.name] for task in here if known.get(task.name) in queued}
            left = [task for task in here if task.name not in jobs]
            for start in range(0, len(left), ARRAY):
                jobs |= self._submit(folder, left[start : start + ARRAY])
                part = record.with_suffix(".part")
                part.write_text(json.dumps({**known, **jobs}), encoding="utf-8")
                part.replace(record)
            before = len(here) - len(left)
            print(f"Slurm: {len(left)} submitted, {before} submitted before; logs in {folder}", flush=True)
        return jobs

    def _submit(self, folder: Path, tasks: Sequence[Task]) -> dict[str, str]:
        import submitit
        from submitit.core.utils import FailedJobError

        given = {GENERIC.get(key, f"slurm_{key}"): value for key, value in self._parameters.items()}
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self._timeouts)
        try:
            executor.update_parameters(nodes=1, tasks_per_node=1, **given)
            with executor.batch():
                jobs = [executor.submit(_Job(task)) for task in tasks]
        except (FailedJobError, ValueError, NameError) as error:
            said = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
            keys = run_command("hydra/launcher=slurm", "--cfg", "hydra", "--package", "hydra.launcher")
            raise ConfigError(
                f"Slurm does not take the jobs: {said}", f"set hydra.launcher.KEY=VALUE; these there are: {keys}"
            ) from None
        return {task.name: job.job_id for task, job in zip(tasks, jobs, strict=True)}

    def _wait(self, jobs: set[str]) -> None:
        """Until none of these is in the queue, and none comes back at once."""
        shown, missed = "", 0
        while missed < 2:
            queue = _queue()
            there = [queue[job] for job in sorted(jobs) if job in queue]
            missed = missed + 1 if not there else 0
            counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(there).items()))
            if counts != shown:
                print(f"Slurm: {counts or 'all jobs have ended'}", flush=True)
                shown = counts
            time.sleep(self._poll if there else 1)


class _Job:
    """What a job calls. `checkpoint` is asked for by submitit shortly before the time limit: the same again."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self) -> Outcome:
        try:
            run = Apart(self._task)
        except ConfigError as error:
            return Outcome.failed(self._task.name, error)
        outcome = run.outcome()
        if run.code == STOPPED:
            # Preempted, with time to end in peace: a job that ended by itself would not be queued again.
            until = time.monotonic() + TAKEN_AFTER
            while time.monotonic() < until and _state(_own_job()) == "RUNNING":
                time.sleep(2)
        return outcome

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _own_job() -> str:
    """The number of an array's last job is that of the whole array, too: jobs of arrays are asked for by both names."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]


def _state(job: str) -> str:
    """Of one job; "" if it is not known."""
    asked = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def _queue() -> dict[str, str]:
    """This user's jobs that wait or run, each with its state in words. Raises `ConfigError` if Slurm stays silent."""
    error = ""
    for pause in PAUSES:
        asked = ["squeue", "--me", "--noheader", "--array", "--format", "%i|%T|%r"]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode == 0:
            rows = [line.split("|", 2) for line in done.stdout.splitlines()]
            return {job: state.lower() + (f" ({why})" if state == "PENDING" else "") for job, state, why in rows}
        error = done.stderr.strip()
        time.sleep(pause)
    raise ConfigError(f"Slurm does not answer: {error}", "the jobs go on; the same command finds them again")


def _cancel(jobs: Collection[str]) -> None:
    """End these jobs, and wait until they have."""
    left = sorted(set(jobs) & set(_queue()))
    if not left:
        return
    print(f"Slurm: cancelling {len(left)} jobs, which close their journals …", flush=True)
    subprocess.run(["scancel", *left], check=False)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and set(left) & set(_queue()):
        time.sleep(1)
