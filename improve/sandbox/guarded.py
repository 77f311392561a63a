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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from improve.errors import SandboxError
from improve.sandbox import usage, visible
from improve.sandbox.confined import Confined
from improve.sandbox.guard import bpf, landlock, linux, tree
from improve.sandbox.log import LogPump
from improve.sandbox.remove import remove
from improve.sandbox.sandbox import LAUNCHER, PopenBytes, Sandbox, scratch_environment
from improve.sandbox.shared_memory import FOLDER as SHARED_MEMORY
from improve.sandbox.shared_memory import SharedMemory
from improve.sandbox.values import Launch, Tier
from improve.sandbox.watchdog import Usage

_BOOT: Final = "import sys; sys.path.append(sys.argv.pop()); from guard.main import main; main()"
_FILES_OPEN: Final = 4096
_THREADS_PER_CPU: Final = 8


class LandlockSandbox(Sandbox):
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

    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        return _launch(launch, output, log, {"confine": True, "landlock": self._version})


class PlainSandbox(Sandbox):
    """Tier T0."""

    tier = Tier.T0

    def missing(self) -> SandboxError | None:
        return None

    def _launch(self, launch: Launch, output: BinaryIO, log: LogPump) -> Confined:
        return _launch(launch, output, log, {"confine": False})


def _launch(launch: Launch, output: BinaryIO, log: LogPump, mode: dict[str, Any]) -> Confined:
    """Start a guard and hand it its plan."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # what shares our user could else read our keys from /proc
    scratch = Path(tempfile.mkdtemp(prefix="improve-")).resolve()
    before = SharedMemory()
    ours, theirs = socket.socketpair()
    with theirs, output:
        argv = [sys.executable, "-I", "-S", "-c", _BOOT, str(theirs.fileno()), str(Path(__file__).parent)]
        env = scratch_environment(launch.env, scratch)
        process = LAUNCHER.popen(argv, output, env, (*launch.pass_fds, theirs.fileno()))
    confined = _Guarded(process, launch, log, ours, scratch, before)
    plan = mode | {
        "argv": launch.argv,
        "env": env,
        "cwd": str(launch.cwd),
        "scratch": str(scratch),
        "pass_fds": launch.pass_fds,
        "rules": _rules(launch, scratch),
        "sockets": [str(path) for path in (*launch.writable, scratch)],
        "processes": launch.limits.processes,
        "rlimits": _rlimits(launch, mode["confine"]),
    }
    confined.begin(plan)
    return confined


def _rules(launch: Launch, scratch: Path) -> list[tuple[str, int]]:
    """What Landlock lets through: paths and rights."""
    proc = [path for path in launch.devices if path.is_relative_to("/proc")]
    devices = [path for path in launch.devices if path not in proc]
    groups = (
        (landlock.READ, (*_shown(launch), *visible.PROC, "/etc/passwd", "/proc/self", *launch.readable, *proc)),
        (landlock.READ_DIR, visible.listed()),
        (landlock.WRITE, (*launch.writable, scratch)),
        (landlock.UNLISTED, (SHARED_MEMORY,)),
        (landlock.DEVICE, (*visible.DEVICES, *devices)),
    )
    return [(str(path), rights) for rights, paths in groups for path in paths]


def _shown(launch: Launch) -> Iterator[Path]:
    """What is shown, one by one where something beside it is hidden: a rule holds for all below its folder."""
    for tree in visible.trees(gpu=bool(launch.devices)):
        yield from _without(tree.path, tree.hidden)


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
        limits["RLIMIT_NPROC"] = _own_tasks() + launch.limits.processes + _THREADS_PER_CPU * (os.cpu_count() or 1)
    return limits


def _own_tasks() -> int:
    """How many threads this user runs now."""
    count = 0
    for pid in tree.parents():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.stat(f"/proc/{pid}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


class _Guarded(Confined):
    def __init__(
        self,
        process: PopenBytes,
        launch: Launch,
        log: LogPump,
        control: socket.socket,
        scratch: Path,
        shared_memory: SharedMemory,
    ) -> None:
        super().__init__(process, launch, log)
        self._control = control
        self._scratch = scratch
        self._shared_memory = shared_memory
        self._places = [*launch.writable, scratch]

    def begin(self, plan: dict[str, Any]) -> None:
        """Send the plan and wait until the program runs. Raises `SandboxError`."""
        self._watchdog.start()
        answer = ""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(json.dumps(plan).encode() + b"\n")
            with self._control.makefile("r") as source:
                answer = source.readline()
        reply = json.loads(answer or "{}")
        if "pid" not in reply:
            self.kill()
            said = reply.get("error") or self._log.head.decode(errors="replace").strip()
            raise SandboxError(f"The program could not be started: {said}", "improve doctor")

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
        return Usage(usage.memory(pids, files, relevant), usage.disk(self._places) + held.disk, len(pids))

    def _tidy(self) -> None:
        self._control.close()
        self._shared_memory.remove()
        remove(self._scratch)

    def _check_set_up(self, code: int) -> None:
        """`begin` has seen that the program ran."""
