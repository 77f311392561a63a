"""Runs of two candidates an iteration, trained side by side for real: replayed, and stopped by Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from improve.record.journal import JOURNAL, read
from tests.support.paths import ROOT
from tests.test_resume import steps

pytestmark = pytest.mark.timeout(600)

# Steps instead of seconds: what is on record does not depend on how fast a training is beside another.
TWO = (
    "dataset=digits", "dataset.train=300", "dataset.selection=100", "dataset.test=100", "display=plain",
    "strategy.candidates=2", "executor.slots=2", "strategy.iterations=1", "finish.members=2",
    "executor.threads=1", "executor.steps=600", "executor.fit_seconds=120",
)  # fmt: skip
PROGRAM = (sys.executable, "-m", "improve.run")


class Runs:
    """Runs below one folder, with temporary files of their own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.surroundings = {**os.environ, "IMPROVE_CACHE": str(cache), "TMPDIR": str(self.scratch)}

    def start(self, name: str, *more: str, program: tuple[str, ...] = PROGRAM) -> subprocess.Popen[str]:
        """In a process group of its own, as a shell starts a command."""
        return subprocess.Popen(
            [*program, *TWO, f"run_dir={self.folder / name}", *more],
            cwd=ROOT, env=self.surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[str]) -> None:
        output, errors = process.communicate(timeout=400)
        assert process.returncode == 0, output + errors


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Runs:
    """`whole` has ended by itself."""
    made = Runs(tmp_path_factory.mktemp("runs"), cache)
    made.ended(made.start("whole"))
    return made


@pytest.mark.slow
def test_a_run_is_replayed_the_same_whichever_training_ends_first(runs: Runs) -> None:
    recorded = [step for step in steps(runs.folder / "whole") if step[1] != "run"]
    batches = [data["trainings"] for _, kind, data in recorded if kind == "batch"]
    assert batches[:2] == [[[0, 0]], [[1, 0], [2, 0]]]
    for place in (1, 2):
        name = f"replayed-{place}"
        program = (sys.executable, "-m", "tests.support.ended_last", str(place))
        cassette = ("llm=replay", f"llm.cassette={runs.folder / 'whole'}")
        runs.ended(runs.start(name, *cassette, program=program))
        replayed = [step for step in steps(runs.folder / name) if step[1] != "run"]
        assert [data["replay"] for _, kind, data in replayed if kind == "llm"] == ["request"] * len(calls(recorded))
        assert [as_asked(step) for step in replayed] == [as_asked(step) for step in recorded]
        assert not (runs.folder / name / "held").exists()


def calls(found: list[tuple[str, str, Any]]) -> list[Any]:
    return [data for _, kind, data in found if kind == "llm"]


def as_asked(step: tuple[str, str, Any]) -> tuple[str, str, Any]:
    """A step less who was asked."""
    key, kind, data = step
    return key, kind, {**data, "replay": "", "llm": ""} if kind == "llm" else data


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
    ],
)
def test_stopped_while_two_train_nothing_is_left_and_the_same_command_goes_on(
    number: signal.Signals, code: int, runs: Runs
) -> None:
    name = f"stopped-{code}"
    folder = runs.folder / name
    process = runs.start(name)
    until(lambda: all(rows(folder, candidate) for candidate in (1, 2)), process)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, output + errors
    assert "Traceback" not in output + errors
    assert "stopped; what is done is kept. Resume with:" in errors
    assert not [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not (folder / "cells").exists()
    assert not [path for path in runs.scratch.iterdir() if path.name.startswith("improve-")]
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    before = read(folder / JOURNAL).records
    assert before[-1].kind == "batch"

    again = subprocess.run(
        shlex.split(errors.split("Resume with:\n", 1)[1].strip().splitlines()[0]),
        cwd=ROOT, env=runs.surroundings, text=True, capture_output=True, timeout=400,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert read(folder / JOURNAL).records[: len(before)] == before
    # Whoever was asked before was not asked again: each call is on record once, as in a run that nobody stopped.
    assert steps(folder)[1:] == steps(runs.folder / "whole")[1:]
    assert len(list((folder / "calls").glob("*.md"))) == len(calls(steps(folder)))
    verified = subprocess.run(
        [sys.executable, "-m", "improve.cli", "verify", str(folder)],
        cwd=ROOT, env=runs.surroundings, text=True, capture_output=True, timeout=200,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "0 do not, 0 could not be looked at" in verified.stdout


def until(there: Any, process: subprocess.Popen[str], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(folder: Path, candidate: int) -> int:
    """Validations of a candidate's training so far."""
    file = folder / "candidates" / f"{candidate:03d}" / "metrics.csv"
    return file.read_text().count("\n") - 1 if file.exists() else 0
