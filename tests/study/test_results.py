"""A study ends with its numbers on the terminal, named or not; side by side, each line names its run."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from improve.config.compose import config_from
from improve.display import make_display
from improve.study.plan import Job
from improve.study.results import print_results
from improve.study.sweeper import StudySweeper
from tests.study.test_resume import study
from tests.support.made_study import run, trials


def test_the_numbers_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials(tmp_path, "trial", [0.8, 0.9, None])
    run(tmp_path, "trial", 0.6, strategy="zero_shot")
    print_results([*(tmp_path / "trial").iterdir(), tmp_path / "not begun"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "trial: accuracy on the test images, mean ± standard deviation"
    (refined,) = (line for line in lines if "85.0%" in line)
    assert re.search(r"85\.0% ± 7\.1 \(2 runs\), first pipeline 75\.0%, 1 failed$", refined)
    assert any(re.search(r"60\.0% \(1 run\)$", line) for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_nothing_is_said_of_runs_that_have_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_results([tmp_path])
    assert capsys.readouterr().out == ""


def test_runs_of_no_study_end_with_the_command_of_a_report(tmp_path: Path) -> None:
    done = study(tmp_path, "seed=0,1", "study=")
    assert done.returncode == 0, done.stderr
    command = shlex.split(done.stdout.split("for a report ")[1].splitlines()[0])
    at = command.index("report")
    assert {Path(path).parent for path in command[at + 1 : at + 3]} == {tmp_path}
    assert all((Path(path) / "journal.jsonl").exists() for path in command[at + 1 : at + 3])
    assert command[at + 3 :] == ["--out", str(tmp_path / "report")]


def test_side_by_side_each_line_names_its_run() -> None:
    stream = io.StringIO()
    display = make_display("plain", stream, name="digits-seed1")
    display.note("prepared")
    display.close()
    assert stream.getvalue() == "[0:00] digits-seed1: prepared\n"

    sweeper: Any = SimpleNamespace(_one_by_one=False)
    job = Job((), config_from(["dataset=digits"]), Path("x"))
    assert StudySweeper._shown(sweeper, job) == ("display=plain", "display.named=true")
    assert config_from(["dataset=digits", *StudySweeper._shown(sweeper, job)]).display.named
    sweeper._one_by_one = True
    assert StudySweeper._shown(sweeper, job) == ()
