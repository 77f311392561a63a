"""A model that goes away in the middle of a run: what is reached is kept, and the same command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.record.history import History
from improve.record.journal import JOURNAL, read
from tests.support import components
from tests.support.scripted_llm import Answer, Asked, ScriptedServer, error, role_of, serving

DOWN = error(503, "the engine is down", retry_after="3600")


def improve(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "improve.run", "dataset=digits", "display=plain", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "IMPROVE_CACHE": str(cache)},
    )


def answer(asked: Asked) -> str:
    role = role_of(asked.prompt[0])
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=1)
    if role == "Performance Analyst":
        return json.dumps({"component": "training", "diagnosis": "short", "feedback": "train longer"})
    if role == "Training Engineer":
        return components.fenced(training=components.training(epochs=4, rate=3e-3))
    return "It did what was asked."


def arguments(server: ScriptedServer, folder: Path) -> tuple[str, ...]:
    return ("llm=local", f"llm.api_base={server.base}", "strategy.iterations=1", f"run_dir={folder}")


@pytest.mark.slow
def test_an_outage_during_the_last_summary_costs_nothing(tmp_path: Path, cache: Path) -> None:
    def script(asked: Asked) -> str | Answer:
        gone = sum(role_of(other.prompt[0]) == "Summarizer" for other in server.asked) > 1
        return DOWN if gone else answer(asked)

    with serving(script) as server:
        done = improve(cache, *arguments(server, tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    history = History.read(tmp_path / "run")
    assert history.is_finished
    assert history.best_test is not None
    assert (tmp_path / "run" / "best" / "predict.py").exists()
    assert history.iterations[1].summary.startswith("(no summary: ")
    assert "no summary: " in done.stdout
    assert history.calls[-1]["finish_reason"] == "unanswered"


@pytest.mark.slow
def test_an_outage_before_that_leaves_the_best_tested_and_the_same_command_goes_on(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    back = False

    def script(asked: Asked) -> str | Answer:
        return DOWN if role_of(asked.prompt[0]) == "Training Engineer" and not back else answer(asked)

    with serving(script) as server:
        stopped = improve(cache, *arguments(server, folder))
        assert stopped.returncode == 4, stopped.stdout + stopped.stderr
        assert "the engine is down" in stopped.stderr
        assert "is tested and exported" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert (folder / "best" / "predict.py").exists()
        meanwhile = History.read(folder)
        assert not meanwhile.is_finished
        assert meanwhile.outage
        assert meanwhile.best_test is not None
        assert meanwhile.best_test["iteration"] == 0
        assert "test, best" in stopped.stdout
        assert meanwhile.unanswered[0]["role"] == "training_engineer"
        asked = len(server.asked)
        back = True
        resumed = improve(cache, *arguments(server, folder))
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert not any(role_of(other.prompt[0]) == "Project Architect" for other in server.asked[asked:])
    history = History.read(folder)
    assert history.is_finished
    assert not history.outage
    assert len(history.judged) == 1
    records = read(folder / JOURNAL)[0]
    tests = {record.data["which"]: record.data for record in records if record.kind == "test"}
    outage = next(record.data for record in records if record.kind == "outage")
    assert tests["first"] == outage["first"]  # scored once
    assert history.best_test is not None
