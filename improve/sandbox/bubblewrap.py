"""T3: the command line of bubblewrap.

A new file tree in which only the given folders, Python and the system's libraries exist, read-only but for the
writable folders; new PID, network, IPC, UTS and cgroup namespaces; the system call filter. With a root parent the
program runs as uid 65534 without capabilities; otherwise in a user namespace, as the same user.

What it does not protect from: bugs of the kernel; exhaustion that no process is charged for (see `usage.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from improve.sandbox import visible
from improve.sandbox.values import Launch

NOBODY: Final = 65534
SCRATCH: Final = Path("/tmp")
NEEDED: Final = ("bwrap", "prlimit", "setpriv")
_FILES_OPEN: Final = 4096
_THREADS_PER_CPU: Final = 8  # the kernel's limit counts threads as well: room for the pools of torch
_SANDBOXES: Final = 4  # at once
# The kernel's memory killer takes the sandbox first; bubblewrap's additions to the environment go. A shell, since this
# must happen inside and cost no interpreter.
_LAST_STEP: Final = ("/bin/sh", "-c", 'echo 1000 >/proc/self/oom_score_adj; unset PWD OLDPWD; exec "$@"', "sh")


def command(launch: Launch, filter_fd: int, status_fd: int, passwd_fd: int) -> list[str]:
    """The whole command. The descriptors are the seccomp program, bubblewrap's status lines and /etc/passwd."""
    arguments = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session"]
    arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)]
    if os.geteuid() == 0:  # capabilities are what setpriv needs to give itself up
        arguments += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
    else:
        arguments += ["--unshare-user"]
    size = str(launch.limits.memory_bytes)
    arguments += [*_system(), "--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", str(SCRATCH)]
    arguments += _folders(launch) + _file(passwd_fd, "/etc/passwd")
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(launch.cwd), "--"]
    return [*arguments, *_limits(launch), *_identity(), *_LAST_STEP, *launch.argv]


def passwd() -> bytes:
    """An /etc/passwd in which the program finds a name for itself and learns none of the machine's."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    return f"root:x:0:0::/:/bin/false\nsandbox:x:{uid}:{uid}::{SCRATCH}:/bin/sh\n".encode()


def _system() -> list[str]:
    arguments = []
    for folder in visible.SYSTEM:
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += [*_parents([Path(folder)]), "--ro-bind", folder, folder]
    return arguments


def _folders(launch: Launch) -> list[str]:
    """Mount what is visible, outer folders before what lies in them."""
    named = (*visible.SETTINGS, *(visible.GPU_SETTINGS if launch.devices else ()))
    settings = [Path(path) for path in named if os.path.exists(path)]
    devices = [path for path in launch.devices if not path.is_relative_to("/proc")]  # /proc is there anyway
    modes = dict.fromkeys([*settings, *visible.python(), *launch.readable], "--ro-bind")
    modes |= dict.fromkeys(launch.writable, "--bind") | dict.fromkeys(devices, "--dev-bind")
    arguments = _parents(list(modes))
    for path in sorted(modes, key=lambda path: len(path.parts)):
        arguments += [modes[path], str(path.resolve()), str(path)]
    return arguments


def _parents(paths: Sequence[Path]) -> list[str]:
    """Make the folders above mount points ourselves: bubblewrap's own are closed to all but their owner."""
    above = {folder for path in paths for folder in path.parents}
    arguments = []
    for folder in sorted(above - {Path("/")}, key=lambda folder: len(folder.parts)):
        arguments += ["--perms", "0755", "--dir", str(folder)]
    return arguments


def _file(content_fd: int, path: str) -> list[str]:
    return ["--perms", "0444", "--ro-bind-data", str(content_fd), path]


def _limits(launch: Launch) -> list[str]:
    """Set inside: outside they would hit bubblewrap itself."""
    tasks = launch.limits.processes + _THREADS_PER_CPU * (os.cpu_count() or 1)
    if os.geteuid() == 0:  # all sandboxes run as the same user, which the kernel counts together
        tasks *= _SANDBOXES
    return [
        "prlimit",
        "--core=0",
        f"--fsize={launch.limits.disk_bytes}",
        f"--nproc={tasks}",
        f"--nofile={_FILES_OPEN}",
    ]


def _identity() -> list[str]:
    arguments = ["setpriv", "--no-new-privs", "--inh-caps=-all"]
    if os.geteuid() == 0:
        arguments += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    return [*arguments, "--"]
