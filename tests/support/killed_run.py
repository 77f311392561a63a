"""`python -m tests.support.killed_run after|within ARGUMENT…`: `improve.run`, killed at its first new record.

`after`: by SIGKILL once the record is written; `within`: when half of its line is.
"""

from __future__ import annotations

import os
import signal
import sys

from improve import run
from improve.record.journal import Journal, Record, lines


def killed_after(journal: Journal, record: Record) -> None:
    whole(journal, record)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_within(journal: Journal, record: Record) -> None:
    (line,) = lines([record], journal.link)
    half = line.encode()[: len(line) // 2]
    journal._file.write(half)
    os.kill(os.getpid(), signal.SIGKILL)


whole = Journal._append

if __name__ == "__main__":
    Journal._append = {"after": killed_after, "within": killed_within}[sys.argv[1]]  # type: ignore[method-assign]
    sys.exit(run.main(sys.argv[2:]))
