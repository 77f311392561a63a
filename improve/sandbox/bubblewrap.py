"""T3: the command line of bubblewrap.

A new file tree in which only the given folders and what Python needs (`visible.py`) exist, read-only but for the
writable folders; new PID, network, IPC, UTS and cgroup namespaces; the system call filter. With a root parent the
program runs as uid 65534 without capabilities; otherwise in a user namespace, as the same user.

What it does not protect from: bugs of the kernel; exhaustion that no process is charged for (see `usage.py`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from improve.sandbox import usage, visible
from improve.sandbox.values import Launch, Limits

NOBODY: Final = 65534
SCRATCH: Final = Path("/tmp")
NEEDED: Final = ("bwrap", "prlimit", "setpriv")
_FILES_OPEN: Final = 4096
_SANDBOXES: Final = 4  # that may start after one, and grow, before it is short of threads
# The kernel's memory killer takes the sandbox first; bubblewrap's additions to the environment go. A shell, since this
# must happen inside and cost no interpreter.
_LAST_STEP: Final = ("/bin/sh", "-c", 'echo 1000 >/proc/self/oom_score_adj; unset PWD OLDPWD; exec "$@"', "sh")


# Keeps the namespaces of a forked program (`guard/join.py`) until that one's exit code is written to its input.
_HOLDER: Final = ("/bin/sh", "-c", 'echo; read -r code; exit "$code"')


def command(launch: Launch, filter_fd: int, status_fd: int, passwd_fd: int) -> list[str]:
    """The whole command. The descriptors are the seccomp program, bubblewrap's status lines and /etc/passwd."""
    arguments = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session"]
    arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)]
    if os.geteuid() != 0:
        arguments += ["--unshare-user"]
    else:
        arguments += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP") if launch.argv else ():
            arguments += ["--cap-add", capability]  # what setpriv needs to give itself up
    size = str(launch.limits.memory_bytes)
    arguments += [*_aliases(), "--proc", "/proc", "--dev", "/dev"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
    arguments += ["--perms", "1777", "--size", size, "--tmpfs", str(SCRATCH)]
    arguments += _mounts(launch) + _file(passwd_fd, "/etc/passwd")
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(launch.cwd), "--"]
    if not launch.argv:
        return [*arguments, *_HOLDER]
    limits = [f"--{name.removeprefix('RLIMIT_').lower()}={value}" for name, value in rlimits(launch.limits).items()]
    return [*arguments, "prlimit", *limits, *_identity(), *_LAST_STEP, *launch.argv]


def passwd() -> bytes:
    """An /etc/passwd in which the program finds a name for itself and learns none of the machine's."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    return f"root:x:0:0::/:/bin/false\nsandbox:x:{uid}:{uid}::{SCRATCH}:/bin/sh\n".encode()


def _aliases() -> list[str]:
    arguments = []
    for folder in visible.ALIASES:
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
    return arguments


def _mounts(launch: Launch) -> list[str]:
    """Mount what is visible, outer folders before what lies in them, and over what is hidden there nothing."""
    trees = visible.trees(bool(launch.devices), launch.limits.compiler)
    devices = [path for path in launch.devices if not path.is_relative_to("/proc")]  # /proc is there anyway
    modes = {tree.path: "--ro-bind" for tree in trees} | dict.fromkeys(launch.readable, "--ro-bind")
    modes |= dict.fromkeys(launch.writable, "--bind") | dict.fromkeys(devices, "--dev-bind")
    modes |= dict.fromkeys([path for tree in trees for path in tree.hidden], "")
    if launch.work:
        modes[launch.work] = "--tmpfs"
    arguments, made, hiding = [], {Path("/")}, []
    for path in sorted(modes, key=lambda path: (len(path.parts), path)):
        # the folders above: bubblewrap's own are closed to all but their owner
        for folder in reversed(path.parents):
            if folder not in made:
                # Folders in the scratch folder would be the program's own to write to, where it runs as our user.
                own = folder.parent == SCRATCH
                arguments += ["--perms", "0755", "--tmpfs" if own else "--dir", str(folder)]
                hiding += ["--remount-ro", str(folder)] if own else []
                made.add(folder)
        if modes[path] == "--tmpfs":
            arguments += ["--perms", "1777", "--size", str(launch.limits.disk_bytes), "--tmpfs", str(path)]
        elif modes[path]:
            arguments += [modes[path], str(path.resolve()), str(path)]
        elif path.is_dir():
            arguments += ["--perms", "0755", "--tmpfs", str(path)]
            hiding += ["--remount-ro", str(path)]
            made -= {folder for folder in made if folder.is_relative_to(path)}
            made.add(path)
        else:
            arguments += ["--ro-bind", os.devnull, str(path)]
    return arguments + hiding


def _file(content_fd: int, path: str) -> list[str]:
    return ["--perms", "0444", "--ro-bind-data", str(content_fd), path]


def rlimits(limits: Limits) -> dict[str, int]:
    """Set inside: outside they would hit bubblewrap itself."""
    tasks = limits.tasks  # the kernel counts threads as well
    if os.geteuid() == 0:  # the kernel counts all sandboxes together, also other runs': they run as the same user
        tasks = usage.threads_of(NOBODY) + _SANDBOXES * tasks
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.disk_bytes,
        "RLIMIT_NPROC": tasks,
        "RLIMIT_NOFILE": _FILES_OPEN,
    }


def _identity() -> list[str]:
    arguments = ["setpriv", "--no-new-privs", "--inh-caps=-all"]
    if os.geteuid() == 0:
        arguments += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all"]
    return [*arguments, "--"]
