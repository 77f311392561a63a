"""The README is true: its commands work, its files exist, its words are those of the code, and it is short."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


@pytest.mark.timeout(600)
def test_the_smoke_command_does_what_it_says(tmp_path: Path, cache: Path) -> None:
    command = next(c for c in RUNS if "experiment=smoke" in c)
    done = subprocess.run(
        [*shlex.split(command), f"outputs={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "IMPROVE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rule-based expert, no language model" in done.stdout
    run = next(tmp_path.iterdir())
    for name in ("best/predict.py", "run.html", "candidates/000/model.py", "journal.jsonl"):
        assert (run / name).exists(), name
    assert list((run / "calls").glob("*.md"))


def test_the_folders_that_it_names_exist() -> None:
    block = README.split("## The folders")[1].split("```")[1]
    for line in block.splitlines()[2:]:
        for name in line[:34].split():
            assert (ROOT / "improve" / name).exists(), name
    for name in re.findall(r"`((?:improve|tests|benchmarks|scripts)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
