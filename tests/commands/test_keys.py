"""`--help` and `improve keys`: on one screen, quick, true, and every key has a meaning."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from improve.cli import _parser
from improve.commands.help import help_text
from improve.commands.keys import keys_text
from improve.config.invocation import COMMANDS
from improve.config.overrides import known_keys
from improve.errors import ConfigError
from tests.support.paths import ROOT

WAYS = [
    [sys.executable, "-m", "improve.run", "--help"],
    [sys.executable, "-m", "improve.cli", "--help"],
    [sys.executable, "-m", "improve.cli", "run", "-h"],
    ["bash", "scripts/run.sh", "dataset=digits", "--help"],
]


def started(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "IMPROVE_STARTED_AS"} | environment
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize("command", WAYS, ids=lambda command: " ".join(command[1:]))
def test_help_is_one_screen(command: list[str]) -> None:
    done = started(command)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    # A command that is longer than a line stays whole.
    assert all(len(line) <= 80 for line in lines if ROOT.name not in line and "python" not in line), done.stdout
    for group in ("llm", "dataset", "strategy", "prompts", "budget", "experiment"):
        assert any(line.split()[:1] == [group] and len(line.split()) > 3 for line in lines), group
    assert "keys [GROUP]" in done.stdout


def test_every_key_has_a_meaning_and_is_printed_with_it() -> None:
    text = keys_text()
    for key in known_keys().values():
        assert len(key.meaning) > 3, key.name
        assert f"  {key.name}=" in text
        assert key.meaning in text
        assert key.type_name in text


def test_keys_of_a_group_and_of_one_name() -> None:
    assert "executor.fit_seconds=60.0  (number, at least 1)\n      time limit" in keys_text(["executor"])
    assert "llm." not in keys_text(["executor"])
    assert "options: llm=claude," in keys_text(["llm"])
    assert keys_text(["seed"]).count("\n") == 2
    with pytest.raises(ConfigError, match="did you mean executor"):
        keys_text(["executer"])


def test_output_that_nobody_reads_is_no_error() -> None:
    for command in (f"{sys.executable} -m improve.cli keys", f"{sys.executable} -m improve.run --cfg job"):
        done = started(["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"])
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_help_explains_itself(name: str) -> None:
    done = started([sys.executable, "-m", "improve.cli", name, "--help"])
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert re.search(rf"\b{name}\b", help_text())


def test_all_commands_are_in_the_help() -> None:
    (commands,) = (action for action in _parser()._actions if isinstance(action.choices, dict))
    assert set(commands.choices or {}) == set(COMMANDS)


@pytest.mark.parametrize(("given", "fix"), [("predct", "mean predict"), ("dataset=digits", "run dataset=digits")])
def test_an_unknown_command_is_one_sentence(given: str, fix: str) -> None:
    done = started([sys.executable, "-m", "improve.cli", given])
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: '{given}' is no command of improve.\n  fix: ")
    assert fix in done.stderr
