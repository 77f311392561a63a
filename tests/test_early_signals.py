"""Stopped while it still imports what it needs, or has just begun: a sentence, and the exit code of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT

START = "import sys; from improve.cli import start; sys.exit(start())"  # what the console script does
PROGRAMS = {"run": ["-m", "improve.run"], "console script": ["-c", START, "run"]}
MOMENTS = (0.0, 0.15, 0.4, 1.0, 2.0)  # seconds after it listens to signals


def listens(process: subprocess.Popen[str], number: int) -> bool:
    status = dict(line.split(":\t") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_ends_with_a_sentence(program: str, moment: float, tmp_path: Path) -> None:
    number = signal.SIGINT if moment == MOMENTS[1] else signal.SIGTERM
    process = subprocess.Popen(
        [sys.executable, *PROGRAMS[program], "dataset=digits", "display=plain", f"run_dir={tmp_path}/run"],
        cwd=ROOT,
        env={**os.environ, "IMPROVE_CACHE": f"{tmp_path}/cache"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # a shell's background jobs ignore it
    )
    while not listens(process, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(moment)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert "stopped" in errors
    assert "what is done is kept" in errors
    assert not (tmp_path / "run/best").exists()


SLOW = """
import sys, time
from improve import cli

def work(parsed):
    print("at work", flush=True)
    try:
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

cli._keys = work
sys.exit(cli.start())
"""


def test_a_command_that_is_stopped_cleans_up_and_says_so() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "keys"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    time.sleep(0.5)  # not while it is still printing
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said, errors) == (143, "cleaned up\n", "\nstopped.\n")
