"""The README is true: its commands work, its files exist, its words are those of the code, and it is short."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]
RUNS = [command for command in COMMANDS if command.startswith("bash scripts/run.sh")]


def test_the_two_commands_are_there() -> None:
    assert "bash scripts/run.sh" in COMMANDS
    assert "bash scripts/test.sh" in COMMANDS
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize("command", RUNS)
def test_every_command_composes(command: str, tmp_path: Path) -> None:
    arguments = [a.replace("PHOTOS", str(tmp_path)) for a in shlex.split(command)[2:]]
    done = subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments, *([] if "--cfg" in arguments else ["--cfg", "job"])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "llm:" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smoke_command_does_what_it_says_also_after_kill_9(tmp_path: Path, cache: Path) -> None:
    smoke = shlex.split(next(c for c in RUNS if "experiment=smoke" in c))
    command = [*smoke, "strategy.iterations=1", "executor.fit_seconds=2", f"outputs={tmp_path}"]
    environment = {**os.environ, "IMPROVE_CACHE": str(cache)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert any(line.startswith("run 2 of 4") for line in process.stdout)
    process.kill()
    process.communicate(timeout=30)
    (first,) = (path.parent for path in tmp_path.glob("smoke/*/journal.jsonl") if '"finished"' in path.read_text())
    before = (first / "journal.jsonl").stat().st_mtime_ns

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule-based expert, no language model" in done.stdout
    assert "3 done, 1 skipped" in done.stdout
    assert (first / "journal.jsonl").stat().st_mtime_ns == before
    assert (tmp_path / "smoke" / "study.html").exists()
    runs = sorted(journal.parent for journal in (tmp_path / "smoke").glob("*/journal.jsonl"))
    assert ["-".join(run.name.split("-")[:4]) for run in runs] == [
        f"digits-{strategy}-offline-seed{seed}" for strategy in ("iterative", "zero_shot") for seed in (0, 1)
    ]
    for run in runs:
        for name in ("best/predict.py", "run.html", "candidates/000/model.py", "journal.jsonl"):
            assert (run / name).exists(), name
        assert list((run / "calls").glob("*.md"))


def test_the_folders_that_it_names_exist() -> None:
    text = README + (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:improve|tests|benchmarks|scripts)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
