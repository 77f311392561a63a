"""The run's side of tracking: starts the process, forgets it, and asks it at the end what became of it.

The key of W&B is in that process's environment and, while it uploads, in that of `wandb sync`. A sandbox (tiers T1 to
T3) keeps generated code from reading it there; without one (T0) nothing keeps it from the files of its own user either.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from improve.config.schema import TrackingConfig
from improve.errors import ConfigError
from improve.record.journal import Record

KEY = "WANDB_API_KEY"
INSTALL = "pip install 'improve-classifier[wandb]'"
# All that the process needs to know of its surroundings: nothing that could hold another key.
ENVIRONMENT: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "NETRC", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_CONFIG_DIR", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_INSECURE_DISABLE_SSL",
)  # fmt: skip
SWEEP = "WANDB_SWEEP_ID"
# Of a run that an agent of W&B's started: then, and only then, wandb takes these instead of what we tell it.
OF_SWEEPS: Final = (SWEEP, "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_SWEEP_PARAM_PATH")


def installed() -> bool:
    """Whether wandb is there. A folder `wandb`, which it leaves wherever it ran, is none."""
    spec = importlib.util.find_spec("wandb")
    return spec is not None and spec.origin is not None


def check_installed(tracking: TrackingConfig) -> None:
    """Raises `ConfigError` if the run is to be tracked and cannot be."""
    if tracking.mode != "none" and not installed():
        raise ConfigError(f"tracking={tracking.mode} needs wandb, which is not installed.", INSTALL)


class Tracker:
    """The tracking of one run: a listener of its journal, whose first record starts the process.

    `said` is what became of it, in a sentence; "" as long as nothing is known, or nothing is tracked.
    """

    def __init__(self, tracking: TrackingConfig, folder: Path) -> None:
        self.said = ""
        self._tracking = tracking
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = tracking.mode != "none"
        self._uploads = tracking.mode == "wandb"

    def record(self, record: Record) -> None:
        """Start the process, once the journal has something to read."""
        if not self._wanted:
            return
        self._wanted = False
        try:
            self._process = subprocess.Popen(
                [*self._command(), "--follow"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for the run; this process ends by itself
            )
        except OSError as error:
            self.said = f"its process could not be started ({error.strerror}); {self._later()}"

    def finish(self, *, stopped: bool = False) -> None:
        """Wait for the process for at most `tracking.wait_seconds`; `said` is known then.

        If it is uploading by then, it goes on by itself, within its time limit; else it is ended. Of a run that was
        `stopped` the upload is not waited for at all.
        """
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()  # so it knows
        state, sentence = self._listen(process, ("done", "failed", *(["uploading"] if stopped else [])))
        if state in ("done", "uploading"):
            self.said = sentence
            return
        if state == "failed":
            ending = f"not logged: {sentence}"
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            ending = f"its process did not end within {self._tracking.wait_seconds:.0f} s"
        else:
            log = self._folder / "wandb" / "tracking.log"
            ending = f"its process ended early (exit code {process.returncode}), see {log}"
        self.said = f"{ending}; {self._later()}"

    def _listen(self, process: subprocess.Popen[bytes], until: Collection[str]) -> tuple[str, str]:
        """The last that the process told until it ended, was in one of these states, or the time was up."""
        assert process.stdout is not None
        deadline = time.monotonic() + self._tracking.wait_seconds
        os.set_blocking(process.stdout.fileno(), False)
        told, ended = b"", False
        state, sentence = "", ""
        while state not in until and not ended and time.monotonic() < deadline:
            time.sleep(0.05)
            ended = process.poll() is not None
            told += process.stdout.read() or b""
            lines = told.split(b"\n")
            if len(lines) > 1:
                state, sentence = _message(lines[-2])
        return state, sentence

    def _command(self) -> list[str]:
        tracking = self._tracking
        command = [sys.executable, "-m", "improve.tracking", str(self._folder), "--project", tracking.project]
        command += ["--seconds", f"{tracking.sync_seconds:g}"]
        command += ["--entity", tracking.entity] if tracking.entity else []
        for tag in tracking.tags:
            command += ["--tag", tag]
        return [*command, *(["--upload"] if self._uploads else [])]

    def _later(self) -> str:
        return f"later: {shlex.join(['python', *self._command()[1:]])}"

    def _environment(self) -> dict[str, str]:
        names = [*ENVIRONMENT, *(OF_SWEEPS if SWEEP in os.environ else ()), *([KEY] if self._uploads else ())]
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "WANDB_ERROR_REPORTING": "false"}


def _message(line: bytes) -> tuple[str, str]:
    """State and sentence of a line that the process told; a line that it did not mean for us says nothing."""
    try:
        message = json.loads(line)
        return str(message["state"]), str(message["sentence"])
    except (ValueError, TypeError, KeyError):
        return "", ""
