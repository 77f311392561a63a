"""Which processes descend from a process, and how to end them all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable


def threads(pids: Iterable[int]) -> int:
    """How many threads these processes have, all together."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                total += int(file.read().rpartition(b")")[2].split()[17])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def parents() -> dict[int, int]:
    """The parent of every visible process, by process id. Zombies are included."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # the name in parentheses may itself hold spaces and parentheses
                    found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def descendants(root: int) -> list[int]:
    """All processes below `root`, parents before children; `root` is not among them."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def sweep(root: int, seconds: float) -> bool:
    """End everything below `root`, the calling subreaper: stopped first, so that nothing forks away meanwhile.

    True once no descendant is left, False if some survive `seconds` (stuck in the kernel).
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reap()
        below = descendants(root)
        if not below:
            return True
        signal_all(below, signal.SIGSTOP)
        signal_all(below, signal.SIGKILL)
        time.sleep(0.002)
    return False


def reap() -> dict[int, int]:
    """Collect the children that have ended: exit code by process id, 128 + signal number for a signal."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code
