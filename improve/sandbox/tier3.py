"""T3: starts and ends programs in bubblewrap (see `bubblewrap.py` for what they see)."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from improve.errors import SandboxError
from improve.sandbox import bubblewrap, usage
from improve.sandbox.confined import Confined
from improve.sandbox.guard import bpf, seccomp, tree
from improve.sandbox.log import LogPump
from improve.sandbox.sandbox import LAUNCHER, PopenBytes, Sandbox, scratch_environment
from improve.sandbox.values import Launch, Tier
from improve.sandbox.watchdog import Usage

_INSTALL = "apt-get install bubblewrap util-linux"
_END_SECONDS = 15.0
_SET_UP_FAILED = 1  # bubblewrap's exit code, if it has not reported one of the program


class BubblewrapSandbox(Sandbox):
    """Tier T3."""

    tier = Tier.T3

    def missing(self) -> SandboxError | None:
        absent = [program for program in bubblewrap.NEEDED if shutil.which(program) is None]
        if absent:
            return SandboxError(f"Tier T3 needs {' and '.join(absent)}, not installed here.", _INSTALL)
        if platform.machine() not in bpf.AUDIT_ARCH:
            return SandboxError(f"Tier T3 has no system call filter for {platform.machine()}.", "use sandbox=off")
        return None

    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        if os.geteuid() == 0:
            _hand_over(launch)
        status, status_sink = os.pipe()
        with (
            _content(seccomp.program(supervised=False)) as filter_fd,
            _content(bubblewrap.passwd()) as passwd_fd,
            os.fdopen(status_sink, "wb"),
            output,
        ):
            command = bubblewrap.command(launch, filter_fd, status_sink, passwd_fd)
            fds = (*launch.pass_fds, filter_fd, passwd_fd, status_sink)
            process = LAUNCHER.popen(command, output, scratch_environment(launch.env, bubblewrap.SCRATCH), fds)
        return _Bubblewrapped(process, launch, log, status)


class _Bubblewrapped(Confined):
    """`status` is the descriptor of bubblewrap's report, JSON lines; ours to close."""

    def __init__(self, process: PopenBytes, launch: Launch, log: LogPump, status: int) -> None:
        super().__init__(process, launch, log)
        self._status = status
        self._report = b""
        self._init: int | None = None  # pidfd of the first process inside: with it the kernel ends all others
        first = self._read_report(blocking=True)
        if "child-pid" in first:
            with contextlib.suppress(ProcessLookupError):
                self._init = os.pidfd_open(int(first["child-pid"]))
        places = (*launch.writable, *(path.resolve() for path in launch.writable))
        self._places = [f"{path}/" for path in places]
        self._watchdog.start()

    def _read_report(self, blocking: bool) -> dict[str, int]:
        """What bubblewrap has reported so far. Waits for its first line if `blocking`."""
        while blocking or select.select([self._status], [], [], 0)[0]:
            block = os.read(self._status, 4096)
            self._report += block
            if not block or (blocking and b"\n" in self._report):
                break
        found: dict[str, int] = {}
        for line in self._report.splitlines():
            found |= json.loads(line)
        return found

    def _end(self) -> None:
        if self._init is None:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)
        gone = select.poll()
        gone.register(self._init, select.POLLIN)
        if not gone.poll(_END_SECONDS * 1000):
            raise SandboxError(f"The sandbox (process {self.pid}) cannot be ended.", f"kill -9 {self.pid}")

    def _measure(self) -> Usage:
        pids = tree.descendants(self.pid)
        held = usage.held(pids, ["/memfd:"], self._places)
        memory = usage.memory(pids, _memory_files(pids) + held.memory, self._launch.limits.memory_bytes // 2)
        # the first process inside is bubblewrap's own
        return Usage(memory, usage.disk(self._launch.writable) + held.disk, max(0, len(pids) - 1))

    def _tidy(self) -> None:
        os.close(self._status)
        if self._init is not None:
            os.close(self._init)

    def _check_set_up(self, code: int) -> None:
        if code == _SET_UP_FAILED and not self._tidied and "exit-code" not in self._read_report(blocking=False):
            self._log.join(_END_SECONDS)
            said = self._log.head.decode(errors="replace").strip()
            raise SandboxError(f"Bubblewrap could not set up the sandbox: {said}", "improve doctor")


def _memory_files(pids: list[int]) -> int:
    """Bytes in the sandbox's own /tmp and /dev/shm, seen through the first process that lets us."""
    for pid in reversed(pids):
        try:
            found = [os.statvfs(f"/proc/{pid}/root{folder}") for folder in (bubblewrap.SCRATCH, "/dev/shm")]
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        return sum((status.f_blocks - status.f_bfree) * status.f_frsize for status in found)
    return 0


def _hand_over(launch: Launch) -> None:
    """As root: give the writable folders to uid 65534, which the program runs as. Raises `SandboxError`."""
    for path in launch.readable:
        status = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
        if status.st_uid != bubblewrap.NOBODY and status.st_mode & needed != needed:
            raise SandboxError(f"Generated code cannot read {path}.", f"chmod -R a+rX {path}")
    for path in launch.writable:
        _give_away(path)


def _give_away(folder: Path) -> None:
    """Let uid 65534 own a folder and what is in it: links themselves, never their targets, and however deep."""
    owner = f"{bubblewrap.NOBODY}:{bubblewrap.NOBODY}"
    done = subprocess.run(["chown", "-RhP", owner, "--", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{folder} cannot be given to generated code: {done.stderr.strip()}", "use a local disk")


@contextlib.contextmanager
def _content(content: bytes) -> Iterator[int]:
    """A descriptor from which `content` can be read."""
    descriptor = os.memfd_create("sandbox")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
