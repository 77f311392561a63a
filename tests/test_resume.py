"""`kill -9`, then the same command: the journal ends as an uninterrupted run's, and no call is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from improve.record.journal import JOURNAL, read
from improve.record.kinds import without_durations
from tests.support import components
from tests.support.scripted_llm import ScriptedServer, role_of, scripted_llm

# Steps after whose record the process is killed, each in the middle of the next one.
MOMENTS = ("call-0", "check-0-0", "training-0", "score-0", "candidate-1")


def reply(system: str, user: str) -> str:
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=1)
    if role == "Performance Analyst":
        return json.dumps({"component": "training", "feedback": "train longer"})
    if role == "Training Engineer":
        return components.fenced(training=components.training(epochs=6, rate=3e-3))
    return "It trained longer."


def start(folder: Path, server: ScriptedServer, cache: Path) -> subprocess.Popen[str]:
    arguments = ("dataset=digits", "llm=local", f"llm.api_base={server.base}", "strategy.iterations=1", "display=plain")
    return subprocess.Popen(
        [sys.executable, "-m", "improve.run", *arguments, f"run_dir={folder}", "executor.fit_seconds=30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "IMPROVE_CACHE": str(cache)},
    )


def wait_for(folder: Path, key: str, process: subprocess.Popen[str]) -> None:
    """Until the journal holds the step, or the process has ended."""
    journal = folder / JOURNAL
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and f'"key": "{key}"' in journal.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{key} was never recorded: {process.communicate()}")


def steps(folder: Path) -> list[tuple[str, str, Any]]:
    """The records less what depends on speed; the page of the run names its folder, so that is left out, too."""
    shown = []
    for record in read(folder / JOURNAL)[0]:
        data = without_durations(record.data)
        data.pop("name", None)
        shown.append((record.key, record.kind, data))
    return shown


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Path, int, int]:
    """An uninterrupted run and one killed at every moment, and how many replies each asked for."""
    folders = tmp_path_factory.mktemp("runs")
    whole, killed = folders / "whole", folders / "killed"
    with scripted_llm(reply) as server:
        process = start(whole, server, cache)
        output, errors = process.communicate(timeout=280)
        assert process.returncode == 0, output + errors
        asked_whole = len(server.requests)
        for moment in MOMENTS:
            process = start(killed, server, cache)
            wait_for(killed, moment, process)
            process.kill()
            process.communicate(timeout=30)
        process = start(killed, server, cache)
        output, errors = process.communicate(timeout=280)
        assert process.returncode == 0, output + errors
        return whole, killed, asked_whole, len(server.requests) - asked_whole


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_ends_with_the_journal_of_an_uninterrupted_one(runs: tuple[Path, Path, int, int]) -> None:
    whole, killed, _, _ = runs
    one, other = steps(whole), steps(killed)
    assert [key for key, _, _ in one] == [key for key, _, _ in other]
    for expected, found in zip(one, other, strict=True):
        # The server's address differs between the two runs in nothing: both used one server.
        assert expected == found


@pytest.mark.slow
def test_no_reply_is_asked_for_twice(runs: tuple[Path, Path, int, int]) -> None:
    _, _, whole, killed = runs
    # None of the moments lies between a question and its record: then the answer would be lost and asked for again.
    assert killed == whole


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_an_interrupted_run_says_how_to_resume(number: int, code: int, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    with scripted_llm(reply) as server:
        process = start(folder, server, cache)
        wait_for(folder, "candidate-0", process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == code, output + errors
    assert f"run_dir={folder}" in errors
    assert "Traceback" not in errors
    assert (folder / "run.html").exists()
    assert processes_of(folder) == []


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that mention the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and "pytest" not in line:
            found.append(line)
    return found
