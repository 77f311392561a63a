"""Studies whose runs are other processes: killed, stopped, requeued; the same command goes on, nobody is asked twice.

Those of Ray and Slurm need their packages and daemons (CONTRIBUTING.md), and are skipped without.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.support.scripted_study import scripted_study


def _slurm_is_there() -> bool:
    if importlib.util.find_spec("submitit") is None or shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=60).returncode == 0


RAY = pytest.param(
    "ray",
    marks=[
        pytest.mark.ray,
        pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is missing: pip install -e .[ray]"),
    ],
)
SLURM = pytest.param(
    "slurm",
    marks=[
        pytest.mark.slurm,
        pytest.mark.skipif(not _slurm_is_there(), reason="no Slurm here: tests/support/one_node_slurm.sh starts one"),
    ],
)
OPTIONS = {
    "joblib": (),
    # A Ray that is there already may be used: on a busy machine none can be started, since it waits 30 seconds alone.
    "ray": (f"hydra.launcher.address={os.environ.get('IMPROVE_TEST_RAY', 'null')}",),
    "slurm": ("hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_seconds=1", "hydra.launcher.mem_gb=2"),
}

pytestmark = [pytest.mark.launchers, pytest.mark.timeout(900)]


def options(launcher: str) -> list[str]:
    return [f"hydra/launcher={launcher}", *OPTIONS[launcher]]


@pytest.mark.parametrize("launcher", ["joblib", RAY, SLURM])
def test_a_killed_run_costs_itself_alone_and_the_same_command_ends_it(
    launcher: str, tmp_path: Path, cache: Path
) -> None:
    with scripted_study(tmp_path, cache) as study:
        process = study.start(*options(launcher))
        run, killed = study.in_training()
        os.kill(killed, signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 1, output
        assert "3 done, 1 stopped" in output, output
        assert f"stopped {run.name}: its process was ended by SIGKILL" in output
        assert "1 of 4 runs did not end" in output
        assert "same command goes on" in output
        code, output = study.done(*options(launcher))
        assert code == 0, output
        assert "4 runs, 1 of them to do" in output
        study.check_all_finished()


@pytest.mark.parametrize("launcher", ["joblib", RAY, SLURM])
def test_ctrl_c_ends_the_runs_and_the_same_command_goes_on(launcher: str, tmp_path: Path, cache: Path) -> None:
    with scripted_study(tmp_path, cache, seeds=3) as study:
        process = study.start(*options(launcher))
        run, worker = study.in_training()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 130, output
        assert re.search(r"3 runs in \S+: .*stopped", output), output
        assert "stopped; what is done is kept. Go on with:" in output
        assert "Traceback" not in output
        assert not psutil.pid_exists(worker), "the run outlived its study"
        assert study.records(run)[-1].kind != "finished"
        code, output = study.done(*options(launcher))
        assert code == 0, output
        study.check_all_finished()


def test_runs_end_with_a_study_that_is_killed(tmp_path: Path, cache: Path) -> None:
    with scripted_study(tmp_path, cache, seeds=2) as study:
        process = study.start(*options("joblib"))
        _, worker = study.in_training()
        process.kill()
        process.wait()
        _wait_until_gone(worker)
        code, output = study.done(*options("joblib"))
        assert code == 0, output
        study.check_all_finished()


@pytest.mark.parametrize("launcher", [RAY])
def test_ray_goes_on_by_itself_with_a_run_whose_worker_died(launcher: str, tmp_path: Path, cache: Path) -> None:
    with scripted_study(tmp_path, cache, seeds=2) as study:
        process = study.start(*options(launcher))
        _, run = study.in_training()
        os.kill(psutil.Process(run).ppid(), signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert "2 done" in output
        study.check_all_finished()


@pytest.mark.parametrize("launcher", [SLURM])
class TestSlurm:
    @pytest.mark.parametrize("taken_by", ["requeue", "preemption", "node"])
    def test_a_job_that_is_taken_away_goes_on_by_itself(
        self, launcher: str, taken_by: str, tmp_path: Path, cache: Path
    ) -> None:
        with scripted_study(tmp_path, cache, seeds=2) as study:
            process = study.start(*options(launcher))
            _, worker = study.in_training()
            job = _job_of(worker)
            if taken_by == "requeue":
                _slurm("scontrol", "requeue", job)
            elif taken_by == "preemption":
                urgent = ["--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 3"]
                _slurm("sbatch", "--parsable", *urgent)
            else:
                node = os.uname().nodename
                _slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
                _wait_until_gone(worker)
                # It may have come back by itself.
                subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True)
            output, _ = process.communicate(timeout=800)
            assert process.returncode == 0, output
            assert "2 done" in output
            assert _slurm("scontrol", "show", "job", job).count("Restarts=1"), output
            study.check_all_finished()

    def test_a_job_at_its_time_limit_is_queued_again(self, launcher: str, tmp_path: Path, cache: Path) -> None:
        with scripted_study(tmp_path, cache, seeds=1) as study:
            process = study.start(*options(launcher))
            _, worker = study.in_training()
            # What Slurm sends 90 seconds before the limit.
            _slurm("scancel", "--signal", "USR2", psutil.Process(worker).environ()["SLURM_JOB_ID"])
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
            study.check_all_finished()

    def test_jobs_outlive_the_command_which_finds_them_again(self, launcher: str, tmp_path: Path, cache: Path) -> None:
        with scripted_study(tmp_path, cache, seeds=2) as study:
            process = study.start(*options(launcher))
            _, worker = study.in_training()
            process.kill()
            process.wait()
            code, output = study.done(*options(launcher))
            assert code == 0, output
            assert "Slurm: 0 submitted, 2 submitted before" in output
            assert psutil.pid_exists(worker) or "2 done" in output
            study.check_all_finished()


def _slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _job_of(worker: int) -> str:
    """ARRAY_TASK: the number of an array's last job is that of the whole array, too."""
    known = psutil.Process(worker).environ()
    return f"{known['SLURM_ARRAY_JOB_ID']}_{known['SLURM_ARRAY_TASK_ID']}"


def _wait_until_gone(process: int) -> None:
    until = time.monotonic() + 60
    while psutil.pid_exists(process):
        assert time.monotonic() < until, "the run outlived its study"
        time.sleep(0.1)


def test_gpus_are_handed_out_one_each(tmp_path: Path, cache: Path) -> None:
    with scripted_study(tmp_path, cache, seeds=2) as study:
        process = study.start(*options("joblib"), "hydra.launcher.gpus=[5,7]")
        try:
            _, worker = study.in_training()
            seen = {_visible(run) for run in _runs_below(process.pid)}
        finally:
            process.terminate()
            process.communicate(timeout=200)
        assert seen <= {"5", "7"}
        assert psutil.pid_exists(worker) is False


def _runs_below(process: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(process).children() if "improve.study.apart" in one.cmdline()]


def _visible(run: psutil.Process) -> str:
    return run.environ()["CUDA_VISIBLE_DEVICES"]


def test_a_study_says_what_its_launcher_lacks(tmp_path: Path, cache: Path) -> None:
    with scripted_study(tmp_path, cache, seeds=1) as study:
        code, output = study.done("hydra/launcher=slurm", "hydra.launcher.partition=no-such-partition")
        assert code == 2, output
        assert "error: " in output
        assert "fix: " in output
        assert not study.runs
