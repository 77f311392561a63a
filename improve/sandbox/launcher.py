"""Starts the processes that sandboxes are made of."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

PopenBytes = subprocess.Popen[bytes]


class _Launcher:
    """Starts processes from one thread that lives as long as we do.

    The kernel takes the end of the thread that started a process for the death of its parent. A pool that starts
    sandboxes from threads of its own would lose them with each thread that ends.
    """

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "sandbox-launcher")

    def popen(
        self,
        argv: Sequence[str],
        output: IO[bytes],
        env: Mapping[str, str],
        fds: Sequence[int],
        stdin: int = subprocess.PIPE,
        stdout: int | None = None,
    ) -> PopenBytes:
        """A process in a session of its own, so that Ctrl-C reaches it through us alone."""
        return self._thread.submit(
            subprocess.Popen,
            argv,
            bufsize=0,
            stdin=stdin,
            stdout=output if stdout is None else stdout,
            stderr=output,
            env=env,
            pass_fds=fds,
            start_new_session=True,
        ).result()


LAUNCHER = _Launcher()
