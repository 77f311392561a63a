"""The wheel carries everything that a run reads, and works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel, built from the files that a clone has."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("improve", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    program = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    wheel = next(target.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_it_carries_every_file_of_the_package_and_every_option(installed: Path) -> None:
    def files(folder: Path, prefix: str = "") -> set[str]:
        return {
            prefix + str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts[-3:-1])
        }

    assert files(installed / "improve") == files(ROOT / "improve") | files(ROOT / "conf", "conf/")


def test_it_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for arguments in (["improve.run", "--cfg", "job"], ["improve.cli", "--version"], ["improve.cli", "run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import improve; print(improve.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(installed))
    assert list(tmp_path.iterdir()) == []


def test_it_installs_the_console_script(installed: Path) -> None:
    entry = next(installed.glob("*.dist-info")) / "entry_points.txt"
    assert "improve = improve.cli:start" in entry.read_text()
