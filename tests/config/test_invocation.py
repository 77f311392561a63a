"""A command that is printed can be pasted where the program was started, however that was."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from improve.config import invocation
from tests.support.paths import ROOT

PROGRAM = "from improve.config import invocation as i; print(i.run_command('seed=1')); print(i.command('doctor'))"


def pasted(line: str, cwd: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={"PATH": path, "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=60,
    )


BIN = Path(sys.executable).parent
WITHOUT = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != BIN)
WITH = f"{BIN}{os.pathsep}{WITHOUT}"


@pytest.mark.parametrize(
    ("start", "path"),
    [
        (f"{sys.executable} -m improve.run", WITHOUT),
        ("python -m improve.run", WITH),
        (f"{os.path.relpath(sys.executable, ROOT)} -m improve.run", WITHOUT),
        (f"{sys.executable} -m improve.cli run", WITHOUT),
        ("improve run", WITH),
        (f"{BIN / 'improve'} run", WITHOUT),
        ("bash scripts/run.sh", WITHOUT),
        ("./scripts/run.sh", WITHOUT),
    ],
)
def test_what_is_printed_runs_where_it_was_printed(start: str, path: str) -> None:
    if "improve run" in start and not (BIN / "improve").exists():
        pytest.skip("the project is not installed here")
    printed = pasted(f"{start} doctor", ROOT, path)
    assert printed.returncode == 2, printed.stderr
    fix = printed.stderr.split("fix: ")[1].strip()
    assert fix.endswith("doctor")
    again = pasted(f"{fix} --help", ROOT, path)
    assert again.returncode == 0, again.stderr
    assert "usage" in again.stdout
    shown = pasted(f"{start} --help", ROOT, path).stdout.splitlines()[2].split("  ")[1]
    assert pasted(f"{shown} --version", ROOT, path).stdout.startswith("improve ")


def test_from_a_script_in_another_folder(tmp_path: Path) -> None:
    lines = pasted(f"{sys.executable} -c {shlex.quote(PROGRAM)}", tmp_path, WITHOUT).stdout.splitlines()
    for line, code in zip(lines, (2, 0), strict=True):
        assert pasted(f"{line.replace('seed=1', 'seed=x')} --help", tmp_path, WITHOUT).returncode in (0, code)


def test_packages_are_added_by_the_installer_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have: set[str] = {"pip", "ensurepip"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in have else None)
    monkeypatch.setattr(shutil, "which", lambda name: str(name) if str(name) in have else None)
    assert shlex.split(invocation.install_command("x>=1"))[-4:] == ["-m", "pip", "install", "x>=1"]
    have -= {"pip"}
    have |= {"uv"}
    words = shlex.split(invocation.install_command("x"))
    assert words[:4] == ["uv", "pip", "install", "--python"]
    assert (ROOT / words[4]).exists()
    have -= {"uv"}
    assert "ensurepip && " in invocation.install_command("x")


def test_an_extra_is_named_by_its_own_packages() -> None:
    said = invocation.install_extra("wandb")
    assert "wandb>=0.31" in said
    assert "wandb-workspaces>=" in said
    assert invocation.DISTRIBUTION not in said
    assert "hypothesis" not in said


def test_no_printed_text_names_a_package_that_is_not_on_the_index() -> None:
    for path in [*(ROOT / "improve").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]:
        if path.name != "invocation.py":
            assert invocation.DISTRIBUTION not in path.read_text(encoding="utf-8"), path
