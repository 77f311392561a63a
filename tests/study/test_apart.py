"""One run in a process of its own: its outcome comes back, however it ends."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from improve.config.compose import config_from
from improve.errors import ConfigError
from improve.record.folders import folder_of, make_folder
from improve.record.journal import Journal
from improve.study.apart import Apart, Task
from improve.study.outcome import Outcome, State
from tests.support.paths import ROOT


def task(outputs: Path, **changes: object) -> Task:
    """A run that ends at once, since its model has no key."""
    config = config_from(["dataset=digits", "llm=gpt-4o", "display=none", f"outputs={outputs}"])
    return Task(config, ROOT, environment={"OPENAI_API_KEY": ""}, **changes)  # type: ignore[arg-type]


def test_what_became_of_a_run_comes_back(tmp_path: Path) -> None:
    outcome = Apart(task(tmp_path)).outcome()
    assert outcome.state is State.FAILED
    assert "OPENAI_API_KEY" in outcome.note


def test_a_killed_run_is_said_to_be_killed(tmp_path: Path) -> None:
    given = task(tmp_path)
    run = Apart(given)
    run._process.kill()
    assert run.outcome() == Outcome(given.name, State.STOPPED, "its process was ended by SIGKILL")
    assert run.code == -signal.SIGKILL


def test_a_run_that_is_asked_to_stop_ends(tmp_path: Path) -> None:
    run = Apart(task(tmp_path))
    run.stop()
    assert run.outcome().note == "its process was ended by SIGTERM"


def test_a_run_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    """Also where that one is killed, and while the run waits for its folder."""
    given = task(tmp_path, patience=100.0)
    folder = folder_of(given.config)
    make_folder(folder)
    program = (
        "import pickle, sys\n"
        "from improve.study.apart import Apart\n"
        "run = Apart(pickle.load(sys.stdin.buffer))\n"
        "print(run._process.pid, flush=True)\n"
        "run.outcome()\n"
    )
    journal = Journal(folder)
    try:
        asking = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert asking.stdin is not None
        assert asking.stdout is not None
        pickle.dump(given, asking.stdin)
        asking.stdin.close()
        run = int(asking.stdout.readline())
        assert psutil.pid_exists(run)
        asking.kill()
        asking.wait()
        until = time.monotonic() + 60
        while psutil.pid_exists(run):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        journal.close()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    given = task(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"is not there on {os.uname().nodename}")):
        Apart(Task(given.config, tmp_path / "missing"))
