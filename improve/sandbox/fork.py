"""A process that is not our child, as far as we have to do with it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time


class Fork:
    """A guard that is a fork of a zygote, and so no child of ours: what is needed of `subprocess.Popen` for it."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control
        self._ended = os.pidfd_open(pid)
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._lock:
            if self._code is None and select.select([self._ended], [], [], 0)[0]:
                self._code = self._told()
            return self._code

    def _told(self) -> int:
        """What the guard said at its end; that of something killed if it was killed itself."""
        self._control.setblocking(False)
        said = b""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while block := self._control.recv(4096):
                said += block
        answers = [json.loads(line) for line in said.splitlines()]
        return next((int(answer["exit"]) for answer in answers if "exit" in answer), -signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = 1.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            select.select([self._ended], [], [], min(left, 1.0))
        return code

    def kill(self) -> None:
        """At once, without a word."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._ended, signal.SIGKILL)

    def close(self) -> None:
        """Forget it, once it has ended and `poll` has said so."""
        os.close(self._ended)
