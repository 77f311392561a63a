"""The guard of tiers T1 and T0: starts the confined program, watches over it, and leaves nothing alive behind it.

    python -I -S -c "import sys; sys.path.append(FOLDER); from guard.main import main; main()" CONTROL_FD

The parent sends its plan as one JSON line over the control socket; the guard answers `{"pid": …}` or `{"error": …}`.
When the control socket closes (the parent asks for the end, or is dead itself) or the program ends, everything below
the guard is killed. The guard tells the program's exit code, `{"exit": …}`, and exits with it.

A guard may also be a fork of a zygote (`zygote.py`), and its program then a fork of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import fork, landlock, linux, seccomp, tree
from .supervisor import Supervisor

_SWEEP_SECONDS = 10.0
KILLED = 128 + signal.SIGKILL


def main() -> NoReturn:
    """Run the plan that arrives on the control socket, whose descriptor is the first argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    plan: dict[str, Any] = json.loads(control.makefile("r").readline())
    watch_over(plan, control, {str(number): number for number in plan["pass_fds"]}, None)


def watch_over(
    plan: dict[str, Any], control: socket.socket, given: dict[str, int], program: Callable[[], None] | None
) -> NoReturn:
    """Start the program (None: the plan's `argv`) with the descriptors `given` by number, and see to its end."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        pid, listener = _start(plan, given, program)
    except OSError as problem:
        control.sendall(json.dumps({"error": str(problem)}).encode() + b"\n")
        tree.sweep(os.getpid(), _SWEEP_SECONDS)
        os._exit(1)
    _let_go(given)
    control.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    code = _watch(pid, control, woken, listener, plan)
    if listener is not None:
        os.close(listener)  # what waits for an answer fails now, so nothing can fork during the sweep
    tree.sweep(os.getpid(), _SWEEP_SECONDS)
    # here and not in the parent alone, which may have been killed
    os.spawnvp(os.P_WAIT, "rm", ["rm", "-rf", "--", plan["scratch"]])
    with contextlib.suppress(OSError):  # nobody may be listening any more
        control.sendall(json.dumps({"exit": code}).encode() + b"\n")
    os._exit(code)


def _start(plan: dict[str, Any], given: dict[str, int], program: Callable[[], None] | None) -> tuple[int, int | None]:
    """Fork the confined program. Its process id, and the descriptor on which its filter asks (T1).

    Raises `OSError` with what went wrong on the far side of the fork.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become(plan, theirs, given, program)
    theirs.close()
    with ours:
        message, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
        trouble = (message + b"".join(iter(lambda: ours.recv(4096), b""))).lstrip(b"+")
    if trouble or not message:
        raise OSError(trouble.decode(errors="replace") or "the program could not be confined")
    return pid, descriptors[0] if descriptors else None


def _become(
    plan: dict[str, Any], report: socket.socket, given: dict[str, int], program: Callable[[], None] | None
) -> NoReturn:
    """On the far side of the fork: confine ourselves and become the program. Reports why if that fails."""
    signal.set_wakeup_fd(-1)
    try:
        _limit(plan)
        if program is not None:
            above = report.fileno() + 1000
            report = socket.socket(fileno=os.dup2(report.detach(), above, inheritable=False))
            fork.take_descriptors(given, spare=(above,))
        listener = None
        if plan["confine"]:
            landlock.restrict([(path, rights) for path, rights in plan["rules"]], plan["landlock"])
            listener = seccomp.install(seccomp.program(supervised=True, gpu=plan["gpu"]))
        # a greeting; what else is sent is the report of a failure
        socket.send_fds(report, [b"+"], [] if listener is None else [listener])
        if listener is not None:
            os.close(listener)
        if program is None:
            os.execvpe(plan["argv"][0], plan["argv"], plan["env"])
    except OSError as problem:
        report.sendall(str(problem).encode())
        os._exit(127)
    report.close()
    fork.run(plan, program)


def _limit(plan: dict[str, Any]) -> None:
    """Own session, no privileges, limits, default signals, and death with the guard."""
    os.setsid()
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.drop_privileges()
    fork.limit(plan["rlimits"])
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # if the machine runs out of memory, this goes first
    os.chdir(plan["cwd"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ) if plan["argv"] else ():  # Python ignores them
        signal.signal(number, signal.SIG_DFL)


def _let_go(given: dict[str, int]) -> None:
    """Close our copies, so that the far ends of the program's pipes see it end."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    for descriptor in set(given.values()):
        os.close(descriptor)


def _watch(pid: int, control: socket.socket, woken: socket.socket, listener: int | None, plan: dict[str, Any]) -> int:
    """Answer the filter's questions until the program ends or the parent lets go. The exit code."""
    waiting = select.poll()
    for source in (control, woken):
        waiting.register(source, select.POLLIN)
    supervisor = None
    if listener is not None:
        waiting.register(listener, select.POLLIN)
        supervisor = Supervisor(listener, os.getpid(), plan["sockets"], plan["processes"], plan["tasks"])
    while True:
        for ready, events in waiting.poll():
            if ready == control.fileno():
                return KILLED
            if ready == woken.fileno():
                woken.recv(4096)
                ended = tree.reap()
                if pid in ended:
                    return ended[pid]
            elif supervisor and events & select.POLLIN:
                supervisor.answer_one()
            else:
                waiting.unregister(ready)  # the last process with this filter is gone
