"""T1 and T0: programs below a guard (`guard/main.py`) that outlives them and leaves nothing behind.

T1 confines files with Landlock and system calls with seccomp, without any capability, also for uid 0. What it does
not protect from, other than T3: names, sizes and times of files outside can be asked for by exact path; a renice or
re-pinning of other processes of the same user; bugs of the kernel.

T0 confines nothing. It limits, scrubs the environment and drops capabilities, and that is all.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from improve.config.invocation import command
from improve.errors import SandboxError
from improve.sandbox import usage, visible
from improve.sandbox.confined import Confined
from improve.sandbox.fork import Fork
from improve.sandbox.guard import bpf, landlock, linux, tree
from improve.sandbox.launcher import LAUNCHER, PopenBytes
from improve.sandbox.log import LogPump
from improve.sandbox.remove import remove
from improve.sandbox.sandbox import Sandbox, scratch_environment
from improve.sandbox.shared_memory import FOLDER as SHARED_MEMORY
from improve.sandbox.shared_memory import SharedMemory, remove_forgotten
from improve.sandbox.values import Launch, Tier
from improve.sandbox.watchdog import Usage
from improve.sandbox.zygote import BOOT, Zygote

_FILES_OPEN: Final = 4096
_PREFIX, _NOTE = "improve-", ".shared-memory"  # of a scratch folder, and of the file beside it
_NOTABLE: Final = 1 / 16  # of the limit


class _GuardedSandbox(Sandbox):
    @abstractmethod
    def _mode(self) -> dict[str, Any]:
        """What makes the tier, for the guard."""

    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        scratch, before, ours, theirs = _begin()
        plan = _plan(launch, scratch, self._mode())
        with theirs, output:
            boot = BOOT.format(name="main")
            argv = [sys.executable, "-I", "-S", "-c", boot, str(theirs.fileno()), str(Path(__file__).parent)]
            process = LAUNCHER.popen(argv, output, plan["env"], (*launch.pass_fds, theirs.fileno()))
        confined = _Guarded(process, cast(BinaryIO, process.stdin), launch, log, ours, scratch, before)
        confined.begin(plan)
        return confined

    def _fork(
        self,
        zygote: Zygote,
        launch: Launch,
        given: Mapping[str, int],
        stdin: BinaryIO,
        output: BinaryIO,
        log: LogPump,
    ) -> Confined:
        scratch, before, ours, theirs = _begin()
        plan = _plan(launch, scratch, self._mode())
        with theirs:
            try:
                pid = zygote.fork({**plan, "kind": "guard"}, {"control": theirs.fileno(), **given})
            except SandboxError:
                before.remove()
                remove(scratch)
                raise
        output.close()
        confined = _Guarded(Fork(pid, ours), stdin, launch, log, ours, scratch, before)
        confined.begin(None)
        return confined


def _begin() -> tuple[Path, SharedMemory, socket.socket, socket.socket]:
    """A scratch folder, what is in shared memory already, and both ends of a control socket."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # what shares our user could else read our keys from /proc
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    for note in remove_forgotten(scratch.parent.glob(f"{_PREFIX}*{_NOTE}")):
        remove(note.with_suffix(""))  # their scratch folder
    return scratch, SharedMemory(scratch.with_name(scratch.name + _NOTE)), *socket.socketpair()


class LandlockSandbox(_GuardedSandbox):
    """Tier T1. `landlock_version` lowers the kernel interface that is used, to try what an older kernel gives."""

    tier = Tier.T1

    def __init__(self, landlock_version: int | None = None) -> None:
        super().__init__()
        self._version = landlock_version

    def missing(self) -> SandboxError | None:
        if platform.machine() not in bpf.AUDIT_ARCH:
            return SandboxError(f"Tier T1 has no system call filter for {platform.machine()}.", "use another machine")
        if landlock.version() == 0:
            fix = "boot with a kernel of 5.13 or later and lsm=landlock,… on its command line"
            return SandboxError("Tier T1 needs Landlock, which this kernel has not or has switched off.", fix)
        return None

    def _mode(self) -> dict[str, Any]:
        return {"confine": True, "landlock": self._version}


class PlainSandbox(_GuardedSandbox):
    """Tier T0."""

    tier = Tier.T0

    def missing(self) -> SandboxError | None:
        return None

    def _mode(self) -> dict[str, Any]:
        return {"confine": False}


def _plan(launch: Launch, scratch: Path, mode: Mapping[str, Any]) -> dict[str, Any]:
    """What the guard is to do."""
    writable = (*launch.writable, *([launch.work] if launch.work else ()))
    return {
        **mode,
        "argv": launch.argv,
        "env": scratch_environment(launch.env, scratch),
        "cwd": str(launch.cwd),
        "scratch": str(scratch),
        "pass_fds": launch.pass_fds,
        "rules": _rules(launch, (*writable, scratch)),
        "sockets": [str(path) for path in (*writable, scratch)],
        "processes": launch.limits.processes,
        "tasks": launch.limits.tasks,
        "gpu": bool(launch.devices),
        "rlimits": _rlimits(launch, mode["confine"]),
    }


def _rules(launch: Launch, writable: Sequence[Path]) -> list[tuple[str, int]]:
    """What Landlock lets through: paths and rights."""
    proc = [path for path in launch.devices if path.is_relative_to("/proc")]
    devices = [path for path in launch.devices if path not in proc]
    groups = (
        (landlock.READ, (*_shown(launch), *visible.PROC, "/etc/passwd", "/proc/self", *launch.readable, *proc)),
        # A fork knows the names; but where it compiles it imports more than is imported already.
        (landlock.READ_DIR, visible.listed() if launch.argv else visible.parted() if launch.limits.compiler else []),
        (landlock.WRITE, writable),
        (landlock.UNLISTED, (SHARED_MEMORY,) if launch.limits.shared_memory else ()),
        (landlock.DEVICE, (*visible.DEVICES, *devices)),
    )
    return [(str(path), rights) for rights, paths in groups for path in paths]


def _shown(launch: Launch) -> Iterator[Path]:
    """What is shown, one by one where something beside it is hidden: a rule holds for all below its folder."""
    for shown in visible.trees(bool(launch.devices), launch.limits.compiler):
        yield from _without(shown.path, shown.hidden)


def _without(path: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    below = [place for place in hidden if place.is_relative_to(path)]
    if not below:
        yield path
    elif path not in below:
        for entry in sorted(path.iterdir()):
            yield from _without(entry, below)


def _rlimits(launch: Launch, counted: bool) -> dict[str, int]:
    """Resource limits by name. `counted`: the guard counts the processes itself, for this sandbox alone."""
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": launch.limits.disk_bytes,
        "RLIMIT_NOFILE": _FILES_OPEN,
    }
    if not counted:  # the kernel counts all threads of the user, and not those of root
        limits["RLIMIT_NPROC"] = usage.threads_of(os.geteuid()) + launch.limits.tasks
    return limits


class _Guarded(Confined):
    def __init__(
        self,
        process: PopenBytes | Fork,
        stdin: BinaryIO,
        launch: Launch,
        log: LogPump,
        control: socket.socket,
        scratch: Path,
        shared_memory: SharedMemory,
    ) -> None:
        super().__init__(process, stdin, launch, log)
        self._control = control
        self._scratch = scratch
        self._shared_memory = shared_memory
        self._places = [*launch.writable, scratch]
        self._free = 0
        if launch.work:
            self._places.insert(0, launch.work)
            self._work = os.open(launch.work, os.O_RDONLY | os.O_DIRECTORY)

    def begin(self, plan: dict[str, Any] | None) -> None:
        """Send the plan, if the guard has none yet, and wait until the program runs. Raises `SandboxError`."""
        self._watchdog.start()
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if plan:
                self._control.sendall(json.dumps(plan).encode() + b"\n")
            while not answer.endswith(b"\n") and (byte := self._control.recv(1)):  # what follows is for `Fork.poll`
                answer += byte
        reply = json.loads(answer or b"{}")
        if "pid" not in reply:
            self.release()
            said = reply.get("error") or self._log.head.decode(errors="replace").strip()
            raise SandboxError(f"The program could not be started: {said}", command("doctor"))

    def _end(self) -> None:
        """The guard sweeps when the control socket closes. If it cannot, we do what we can."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._reap()
        except SandboxError:
            tree.signal_all([*tree.descendants(self.pid), self.pid], signal.SIGKILL)

    def _measure(self) -> Usage:
        pids = tree.descendants(self.pid)
        relevant = self._launch.limits.memory_bytes // 2
        held = usage.held(pids, ["/memfd:", f"{SHARED_MEMORY}/"], [f"{path.resolve()}/" for path in self._places])
        files = self._shared_memory.bytes([*pids, self.pid], relevant) + held.memory
        self._free = self._free_bytes()
        # threads beyond those that are allowed count as processes
        limits = self._launch.limits
        count = max(len(pids), tree.threads(pids) - limits.tasks + limits.processes)
        return Usage(usage.memory(pids, files, relevant), usage.disk(self._places) + held.disk, count)

    def _hurried(self) -> bool:
        """Whether the disk has become fuller by a notable part of what may be written: whoever it was, look again."""
        return self._free - self._free_bytes() > self._launch.limits.disk_bytes * _NOTABLE

    def _free_bytes(self) -> int:
        """Of the disk on which the program writes."""
        status = os.statvfs(self._places[0])
        return status.f_bfree * status.f_frsize

    def release(self) -> None:
        super().release()
        if self._launch.work:
            for entry in self._launch.work.iterdir():
                remove(entry)

    def _tidy(self) -> None:
        self._process.poll()  # a fork tells its exit code over the control socket
        self._control.close()
        if isinstance(self._process, Fork):
            self._process.close()
        self._shared_memory.remove()
        remove(self._scratch)

    def _check_set_up(self, code: int) -> None:
        """`begin` has seen that the program ran."""
