"""T3: a fork of the zygote enters the namespaces that bubblewrap has made, and runs the program there.

Two processes: the first enters and then waits, outside of the PID namespace, to tell the exit code to the shell that
holds the namespaces; the second, its child, is in all of them, gives up every privilege, and becomes the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

from . import fork, linux, seccomp, tree, tun

_OWNER: Final = 0xB701  # NS_GET_USERNS: the user namespace that a namespace belongs to
_KINDS: Final = ("cgroup", "uts", "ipc", "net", "pid", "mnt")  # the device of a network is found before the last


def carry_out(
    request: dict[str, Any], given: dict[str, int], control: socket.socket, program: Callable[[], None]
) -> NoReturn:
    """Send the folders of `request` as descriptors over `control`, then run the program and report its exit code.

    Where it has an `address`, the descriptor of a network device (`tun.py`) comes after those of the folders.
    """
    ready, code = given.pop("ready"), given.pop("code")
    if not os.read(ready, 1):
        raise OSError("bubblewrap ended early")
    os.close(ready)
    holder = tree.descendants(request["sandbox"])[-1]
    device = _enter(holder, request["address"])
    folders = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in request["folders"]]
    socket.send_fds(control, [b"{}\n"], folders + device)
    pid = os.fork()
    if pid == 0:
        _become(request, given, program)
    fork.take_descriptors({}, spare=(code,))
    _, status = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(BrokenPipeError):  # the whole sandbox may have been ended
        os.write(code, f"{ended if ended >= 0 else 128 - ended}\n".encode())
    os._exit(0)


def _enter(pid: int, address: str) -> list[int]:
    """Join the namespaces of a process. Gives the network device, where there is to be one. Raises `OSError`.

    Those of a user that is not root belong to a user namespace in which bubblewrap made them; the program's own one
    lies below it.
    """
    spaces = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in (*_KINDS, "user")}
    ours, owner = os.open("/proc/self/ns/user", os.O_RDONLY), fcntl.ioctl(spaces["mnt"], _OWNER)
    _enter_user(owner, ours)
    device = []
    for kind in _KINDS:
        linux.enter(spaces[kind])
        if kind == "net" and address:
            device.append(tun.create(address))
    _enter_user(spaces["user"], owner)
    return device


def _enter_user(namespace: int, current: int) -> None:
    """One cannot join where one is."""
    if not os.path.samestat(os.fstat(namespace), os.fstat(current)):
        linux.enter(namespace)


def _become(request: dict[str, Any], given: dict[str, int], program: Callable[[], None]) -> NoReturn:
    """Give up every privilege and become the program."""
    os.setsid()
    os.chdir(request["cwd"])
    fork.take_descriptors(given)
    fork.limit(request["rlimits"])
    linux.drop_privileges(request["user"])
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # giving up privileges has cleared it; the watchdog has to look
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the machine runs out of memory, this goes first
    seccomp.install(
        seccomp.program(supervised=False, gpu=request["gpu"], loopback=request["loopback"]), supervised=False
    )
    fork.run(request, program)
