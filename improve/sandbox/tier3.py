"""T3: starts and ends programs in bubblewrap (see `bubblewrap.py` for what they see)."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from improve.config.invocation import command
from improve.errors import SandboxError
from improve.sandbox import bubblewrap, usage
from improve.sandbox.confined import Confined
from improve.sandbox.guard import bpf, seccomp, tree
from improve.sandbox.launcher import LAUNCHER, PopenBytes
from improve.sandbox.log import LogPump
from improve.sandbox.sandbox import Sandbox, scratch_environment
from improve.sandbox.shared_memory import FOLDER as SHARED_MEMORY
from improve.sandbox.values import Launch, Tier
from improve.sandbox.watchdog import Usage
from improve.sandbox.zygote import Zygote

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
        process, status = _bubblewrap(launch, output)
        return _Bubblewrapped(process, cast(BinaryIO, process.stdin), launch, log, status)

    def _fork(
        self,
        zygote: Zygote,
        launch: Launch,
        given: Mapping[str, int],
        stdin: BinaryIO,
        output: BinaryIO,
        log: LogPump,
    ) -> Confined:
        """Bubblewrap makes the namespaces and holds them with a shell; the fork enters them."""
        code, code_sink = os.pipe()
        ready, ready_sink = os.pipe()
        control, theirs = socket.socketpair()
        with theirs, os.fdopen(code_sink, "wb"), os.fdopen(ready, "rb"):
            with os.fdopen(code, "rb"), os.fdopen(ready_sink, "wb"):
                process, status = _bubblewrap(launch, output, stdin=code, stdout=ready_sink)
            confined = _Joined(process, stdin, launch, log, status, control)
            request = {
                "kind": "join",
                "sandbox": process.pid,
                "folders": [str(path) for path in confined.folders],
                "cwd": str(launch.cwd),
                "env": scratch_environment(launch.env, bubblewrap.SCRATCH),
                "rlimits": bubblewrap.rlimits(launch.limits),
                "gpu": bool(launch.devices),
                "loopback": launch.limits.loopback,
                "address": launch.limits.address,
                "user": bubblewrap.NOBODY if os.geteuid() == 0 else None,
            }
            own = {"control": theirs.fileno(), "code": code_sink, "ready": ready}
            try:
                pid = zygote.fork(request, {**own, **given})
            except SandboxError:
                confined.release()
                raise
        output.close()
        confined.begin(pid)
        return confined


def _bubblewrap(
    launch: Launch, output: BinaryIO, stdin: int = subprocess.PIPE, stdout: int | None = None
) -> tuple[PopenBytes, int]:
    """Start it; also the descriptor of its status lines."""
    if os.geteuid() == 0:
        _hand_over(launch)
    status, status_sink = os.pipe()
    with (
        _content(
            seccomp.program(supervised=False, gpu=bool(launch.devices), loopback=launch.limits.loopback)
        ) as filter_fd,
        _content(bubblewrap.passwd()) as passwd_fd,
        os.fdopen(status_sink, "wb"),
    ):
        command = bubblewrap.command(launch, filter_fd, status_sink, passwd_fd)
        fds = (*launch.pass_fds, filter_fd, passwd_fd, status_sink)
        env = scratch_environment(launch.env, bubblewrap.SCRATCH)
        return LAUNCHER.popen(command, output, env, fds, stdin, stdout), status


class _Bubblewrapped(Confined):
    """`status` is the descriptor of bubblewrap's report, JSON lines; ours to close."""

    def __init__(self, process: PopenBytes, stdin: BinaryIO, launch: Launch, log: LogPump, status: int) -> None:
        super().__init__(process, stdin, launch, log)
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
            raise SandboxError(f"Bubblewrap could not set up the sandbox: {said}", command("doctor"))


class _Joined(_Bubblewrapped):
    """A fork in bubblewrap's namespaces. `folders` are those whose bytes are memory; the work folder comes first."""

    def __init__(
        self,
        process: PopenBytes,
        stdin: BinaryIO,
        launch: Launch,
        log: LogPump,
        status: int,
        control: socket.socket,
    ) -> None:
        self._control = control
        self._guardian: int | None = None  # the process outside of the namespaces that waits for the program
        self._folders: list[int] = []
        super().__init__(process, stdin, launch, log, status)

    @property
    def folders(self) -> list[Path]:
        work = [self._launch.work] if self._launch.work else []
        return [*work, bubblewrap.SCRATCH, SHARED_MEMORY]

    def begin(self, guardian: int) -> None:
        """Wait until the program runs. Raises `SandboxError`."""
        self._guardian = guardian
        networks = bool(self._launch.limits.address)
        message, folders, _, _ = socket.recv_fds(self._control, 4096, len(self.folders) + networks)
        if message.strip() != b"{}":
            code = self._process.poll()
            self.release()
            if code is not None:
                self._check_set_up(code)
            raise SandboxError(
                f"The sandbox could not be entered: {message.decode(errors='replace')}", command("doctor")
            )
        if self._launch.limits.address:
            self.packets = folders.pop()
        if self._launch.work:
            self._work = folders.pop(0)
        self._folders = folders  # at once: the watchdog looks at them

    def _measure(self) -> Usage:
        outer = tree.descendants(self.pid)
        pids = [*outer, *(tree.descendants(self._guardian) if self._guardian else ())]
        work = _used(self._work) if self._work is not None else 0
        files = sum(_used(folder) for folder in list(self._folders)) + work
        files += usage.held(pids, ["/memfd:"], []).memory
        used = usage.memory(pids, files, self._launch.limits.memory_bytes // 2)
        return Usage(used, work, max(0, len(pids) - 2))  # without bubblewrap's own process and the shell

    def _tidy(self) -> None:
        super()._tidy()
        self._control.close()
        for folder in self._folders:
            os.close(folder)
        self._folders = []
        if self.packets is not None:
            os.close(self.packets)


def _used(folder: int) -> int:
    """Bytes in the memory file system behind a descriptor."""
    status = os.fstatvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize + (status.f_files - status.f_ffree) * usage.SMALLEST


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
