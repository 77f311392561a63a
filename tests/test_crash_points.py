"""Killed after every record, and within each: resumed, a run ends with the records and weights of a whole one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from improve.record.journal import JOURNAL, read
from tests.support import components
from tests.support.paths import ROOT
from tests.support.scripted_llm import ScriptedServer, role_of, scripted_llm
from tests.test_resume import steps

ITERATIONS = 3
KILLED = ("tests.support.killed_run",)
SMALL = ("dataset=digits", "dataset.train=200", "dataset.selection=100", "dataset.test=100", "executor.fit_seconds=30")


def reply(system: str, user: str) -> str:
    """A pipeline, a better one, a worse one, and one that fails its check and its repairs."""
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=8, epochs=1)
    if role == "Performance Analyst":
        step = user.count("- {iteration:")
        return json.dumps({"component": "training", "diagnosis": "seen", "feedback": f"[step-{step}] do it"})
    if role == "Training Engineer":
        if "[step-1]" in user:
            return components.fenced(training=components.training(epochs=6, rate=3e-3))
        if "[step-2]" in user:
            return components.fenced(training=components.training(epochs=1, rate=1e-7))
        return components.fenced(training="import nope\n")
    return "It did what was asked."


def start(folder: Path, server: ScriptedServer, cache: Path, program: tuple[str, ...]) -> subprocess.Popen[str]:
    asked = ("llm=local", f"llm.api_base={server.base}", f"strategy.iterations={ITERATIONS}", "strategy.repairs=1")
    return subprocess.Popen(
        [sys.executable, "-m", *program, *SMALL, *asked, "display=none", f"run_dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "IMPROVE_CACHE": str(cache)},
    )


def weights(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "best").glob("weights.*")}


def resumed_until_done(begin: Callable[[], subprocess.Popen[str]], most: int) -> int:
    """How often the run was killed before it came to its end."""
    for killed in range(most):
        process = begin()
        output, _ = process.communicate(timeout=200)
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, output
    raise AssertionError(f"killed {most} times and not at its end")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_at_every_record_ends_as_a_whole_one(tmp_path: Path, cache: Path) -> None:
    whole, after, within = (tmp_path / name for name in ("whole", "after", "within"))
    with scripted_llm(reply) as server:
        process = start(whole, server, cache, ("improve.run",))
        output, _ = process.communicate(timeout=280)
        assert process.returncode == 0, output
        asked, expected = len(server.requests), steps(whole)
        assert [data["verdict"] for _, kind, data in expected if kind == "verdict"] == [
            "accepted", "accepted", "rejected", "failed",
        ]  # fmt: skip

        killed = resumed_until_done(lambda: start(after, server, cache, (*KILLED, "after", "1")), len(expected) + 1)
        assert killed == len(expected)
        assert len(server.requests) == 2 * asked, "somebody was asked twice"

        torn = start(within, server, cache, (*KILLED, "within", "1"))
        for number in range(len(expected)):
            assert (torn.communicate(timeout=200), torn.returncode)[1] == -signal.SIGKILL
            assert len(read(within / JOURNAL).records) == number
            torn = start(within, server, cache, (*KILLED, "within", "2"))  # the torn one, then the next
        output, _ = torn.communicate(timeout=200)
        assert torn.returncode == 0, output
    for folder in (after, within):
        assert steps(folder) == expected
        assert weights(folder) == weights(whole) != {}
