"""`python -m tests.support.killed_run`: carries out a run again and again, killed at its Nth new record.

Each line on stdin asks for it: `{"where": "after"|"within", "number": N, "arguments": […], "said": FILE}`. `after`: by
SIGKILL once the record is written; `within`: when half of its line is; N = 0: not at all. The answer is its exit code,
-9 if it was killed. A run is a fork of this process, and its zygote one of `zygotes.py`: nothing is imported again, and
the configuration is composed once.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from improve import session
from improve.config.checks import check
from improve.config.compose import config_from
from improve.execution.cell import TEMPLATE, worker_environment
from improve.llm.library import load
from improve.record.journal import Journal, Record, lines
from improve.run import guarded
from improve.sandbox import visible, zygote

MOTHER = Path(__file__).parent / "zygotes.py"


def killed(where: str, number: int) -> Callable[[Journal, Record], None]:
    """`Journal._append` that is killed."""
    left = itertools.count(number - 1, -1)

    def append(journal: Journal, record: Record) -> None:
        last = next(left) == 0
        if not last or where == "after":
            whole(journal, record)
        else:
            (line,) = lines([record], journal.link)
            journal._file.write(line.encode()[: len(line) // 2])
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    return append


whole = Journal._append


class Zygotes:
    """In the place of what starts processes: zygotes that are forks of one that has imported."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            str(MOTHER),
            str(theirs.fileno()),
            str(Path(zygote.__file__).parent),
        ]
        with theirs:
            subprocess.Popen(command, env=worker_environment(), pass_fds=[theirs.fileno()])
        plan = {
            "own": str(TEMPLATE),
            "module": "worker",
            "env": worker_environment(),
            "packages": visible.python_path(),
        }
        self._requests.sendall(json.dumps(plan).encode())

    def popen(self, argv: Sequence[str], output: Any, env: Any, fds: Sequence[int]) -> Zygotes:
        socket.send_fds(self._requests, [b"."], list(fds))
        return self

    # what is asked of the process: it ends when its control socket closes
    stdin = None

    def kill(self) -> None:
        """Its socket is closed already."""

    def wait(self, timeout: float | None = None) -> int:
        return 0


def main() -> None:
    load()
    zygote.LAUNCHER = Zygotes()  # type: ignore[assignment]
    composed = functools.cache(lambda *arguments: config_from(list(arguments)))
    for line in sys.stdin:
        asked = json.loads(line)
        config = composed(*asked["arguments"])
        check(config)
        if (pid := os.fork()) == 0:
            said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for descriptor in (1, 2):
                os.dup2(said, descriptor)
            Journal._append = killed(asked["where"], asked["number"])  # type: ignore[method-assign]
            sys.exit(guarded(functools.partial(session.run, config)))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
