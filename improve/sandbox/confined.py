"""A running sandbox: the handle by which the executor talks to it, waits for it and ends it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, Final

from improve.errors import SandboxError
from improve.sandbox.fork import Fork
from improve.sandbox.log import LogPump
from improve.sandbox.values import Launch
from improve.sandbox.watchdog import Usage, Watchdog

KILLED: Final = 137  # exit code of what was ended with SIGKILL, by us or by the kernel
_GRACE_SECONDS: Final = 15.0  # for the kernel to take apart what was killed
_BLOCK: Final = 1 << 20  # bytes
_LOG_SECONDS: Final = 3.0  # for the rest of the output; only a survivor of T0 can hold the pipe for longer


class Confined(ABC):
    """One program under confinement. Use it as a context manager: leaving the block kills.

    `pid` is the outermost process of the sandbox as this machine sees it. `stdin` is an unbuffered binary file; writing
    to a program that has ended raises `BrokenPipeError`. The log is complete once `kill` has returned. What is in the
    work folder can then be had with `take` until `release`. `packets` is the descriptor on which packets of IPv4 leave
    and enter where it has an address (`Limits.address`), until `kill`.
    """

    packets: int | None = None

    def __init__(self, process: subprocess.Popen[bytes] | Fork, stdin: BinaryIO, launch: Launch, log: LogPump) -> None:
        self.pid = process.pid
        self.stdin = stdin
        self._work: int | None = None
        self._process = process
        self._launch = launch
        self._log = log
        self._ending = threading.Lock()
        self._killing = threading.Lock()
        self._ended = False  # by us
        self._tidied = False
        self._watchdog = Watchdog(
            os.pidfd_open(process.pid), launch.limits, self._measure, self._hurried, self._end_once
        )

    @property
    def killed_for(self) -> str | None:
        """The limit that was reached: "memory", "disk" or "processes"."""
        return self._watchdog.killed_for

    def poll(self) -> int | None:
        """The exit code, 128 + signal number for a signal; None while it runs.

        Raises `SandboxError` if the sandbox itself could not be set up.
        """
        return self._code(self._process.poll())

    def wait(self, timeout: float) -> int | None:
        """Like `poll`, after at most `timeout` seconds."""
        self._watchdog.join(timeout)  # ends with the program
        return self.poll()

    def kill(self) -> None:
        """End every process of the sandbox. When this returns, none is left and its scratch is gone. Idempotent.

        Raises `SandboxError` if something cannot be ended (stuck in the kernel).
        """
        with self._killing:
            if self._tidied:
                return
            self._end_once()
            self._watchdog.join()
            self._log.join(_LOG_SECONDS)
            self.stdin.close()
            self._tidy()
            self._tidied = True

    def take(self, name: str, target: Path, limit: int) -> None:
        """Copy a file of the work folder, as bytes, to `target`, which appears whole or not at all.

        To be called after `kill`. Follows no link. Raises `OSError`: also for what is no regular file (EINVAL) or has
        more than `limit` bytes (EFBIG).
        """
        if self._work is None:
            raise FileNotFoundError(errno.ENOENT, "no work folder", name)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._work)
        partial = target.with_name(target.name + ".partial")
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", name)
            if status.st_size > limit:  # a file with holes may claim any size, and its copy would have it
                raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, more than {limit:,}", name)
            with open(descriptor, "rb", closefd=False) as source, open(partial, "wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
            partial.replace(target)
        finally:
            os.close(descriptor)
            partial.unlink(missing_ok=True)

    def release(self) -> None:
        """Kill, and give up the work folder. Idempotent."""
        self.kill()
        if self._work is not None:
            os.close(self._work)
            self._work = None

    def __enter__(self) -> Confined:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _code(self, code: int | None) -> int | None:
        if code is None:
            return None
        self._watchdog.join()  # its last look decides about killed_for
        if not self._ended:
            self._check_set_up(code)
        return KILLED if self.killed_for else code if code >= 0 else 128 - code

    def _end_once(self) -> None:
        with self._ending:  # the watchdog and the owner may both want the end
            self._ended = self._ended or self._process.poll() is None
            self._end()
            self._reap()

    def _reap(self) -> None:
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired as problem:
            raise SandboxError(f"The sandbox (process {self.pid}) cannot be ended.", f"kill -9 {self.pid}") from problem

    @abstractmethod
    def _end(self) -> None:
        """Kill all processes. May be called again."""

    @abstractmethod
    def _measure(self) -> Usage:
        """What the sandbox uses now."""

    def _hurried(self) -> bool:
        """Whether there is reason to measure at once; asked often, so it must be cheap."""
        return False

    @abstractmethod
    def _tidy(self) -> None:
        """Remove what the sandbox left outside the writable folders. Called once, after the end."""

    @abstractmethod
    def _check_set_up(self, code: int) -> None:
        """Raise `SandboxError` if `code` is that of a sandbox that never ran its program."""
