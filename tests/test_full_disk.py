"""A full disk, wherever it is: one sentence, what is done is kept, and the same command goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from improve.record.history import History

# Mounts a small file system, runs the command, gives it room, runs the command again.
SCRIPT = """
mount -t tmpfs -o size={size}k none {small} || exit 77
{command} >{said} 2>&1
echo "exit $?" >>{said}
mount -o remount,size=200m {small}
{command} >{again} 2>&1
code=$?
cp -r {small} {kept}
exit $code
"""


def run_twice(tmp_path: Path, size: int, small: Path, *arguments: str) -> tuple[str, str]:
    """What the command said on the full disk and afterwards; `small` is copied to `tmp_path/kept`."""
    small.mkdir()
    command = [sys.executable, "-m", "improve.run", "dataset=digits", "llm=offline", "strategy.iterations=1",
               "executor.fit_seconds=3", "display=plain", *arguments]  # fmt: skip
    said, again = tmp_path / "said", tmp_path / "again"
    script = SCRIPT.format(
        size=size, small=small, command=" ".join(command), said=said, again=again, kept=tmp_path / "kept"
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *user, "--mount", "sh", "-c", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    if done.returncode == 77:
        pytest.skip("this machine mounts nothing for us")
    assert done.returncode == 0, again.read_text()
    return said.read_text(), again.read_text()


def check(said: str, sentence: str, code: int) -> None:
    assert "Traceback" not in said, said
    assert said.count("error:") == 1
    assert sentence in said
    assert "fix: free some space" in said
    assert said.rstrip().endswith(f"exit {code}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [4, 120, 420])
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_outputs_on_a_full_disk(size: int, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "small"
    said, _ = run_twice(tmp_path, size, folder, f"run_dir={folder}/run", f"cache_dir={cache}")
    check(said, "is full. What is done is kept.", 9)
    history = History.read(tmp_path / "kept/run")
    assert history.finished is not None
    assert len(history.iterations) == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize("size", [4, 200])
def test_the_cache_on_a_full_disk(size: int, tmp_path: Path) -> None:
    said, _ = run_twice(tmp_path, size, tmp_path / "small", f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/small")
    check(said, "is full", 3)
