"""SIGINT and SIGTERM as an exception that unwinds what was going on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from improve.errors import Interrupted


def ended_by_signals() -> None:
    """From here on, and outside of `stopped_by_signals`, SIGINT and SIGTERM end this process with a sentence, at once.

    For the first line of a program: its imports take a second or more, in which there is nothing yet to unwind. A
    signal that whoever started us wants ignored (`nohup`) stays so.
    """

    def end(number: int, frame: object) -> NoReturn:
        name = signal.Signals(number).name
        # not `print`: it may be what the signal came in the middle of
        os.write(2, f"\nstopped by {name}; what is done is kept, and the same command goes on.\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Interrupted` inside: sandboxes end and journals close. A second one ends at once.

    Python lets only the main thread receive signals: a run in another thread leaves them to the program around it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
