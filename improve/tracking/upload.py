"""Uploads an offline run by `wandb sync`, which alone would try for ever: first a short look, then a time limit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from improve.display.text import one_line
from improve.tracking.tracker import KEY

REACH_SECONDS = 4.0  # a server that says nothing for so long counts as out of reach
REASON_CHARACTERS = 200
SYNCED = ".synced"  # wandb's own mark beside a file that it has uploaded


@dataclass(frozen=True)
class Upload:
    """What became of an upload: why it failed ("" if it did not), and where the run is to be seen, if wandb said so."""

    failure: str = ""
    url: str = ""


def upload(folder: Path, base_url: str, key: str, seconds: float) -> Upload:
    """Upload an offline run's folder. The key is in the environment of `wandb sync` alone."""
    failure = out_of_reach(base_url)
    return Upload(failure) if failure else _sync(folder, key, seconds)


def out_of_reach(base_url: str) -> str:
    """Why the server cannot be asked; "" if it gives any answer at all."""
    try:
        with httpx.stream("GET", base_url, timeout=REACH_SECONDS):
            pass  # its headers are answer enough
    except httpx.TimeoutException:
        return f"{base_url} does not answer within {REACH_SECONDS:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return f"{base_url} cannot be reached ({one_line(str(error), REASON_CHARACTERS)})"
    return ""


def _sync(folder: Path, key: str, seconds: float) -> Upload:
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb", "sync", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **({KEY: key} if key else {})},
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=seconds)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return Upload(f"the upload took more than {seconds:.0f} s")
    if process.returncode == 0 and any(folder.glob(f"*{SYNCED}")):
        found = re.search(r" at (https?://\S+)", said)
        return Upload(url=found[1] if found else "")
    lines = [line.partition("rror")[2].lstrip(": ") for line in said.splitlines() if "rror" in line.lower()]
    reason = lines[-1] if lines else f"wandb sync ended with exit code {process.returncode}"
    return Upload(one_line(reason.replace(key, "[key]") if key else reason, REASON_CHARACTERS))
