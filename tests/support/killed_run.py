"""`python -m tests.support.killed_run after|within NUMBER ARGUMENT…`: `improve.run`, killed at its NUMBERth new record.

`after`: by SIGKILL once the record is written; `within`: when half of its line is.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable

from improve import run
from improve.record.journal import Journal, Record, lines


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

if __name__ == "__main__":
    Journal._append = killed(sys.argv[1], int(sys.argv[2]))  # type: ignore[method-assign]
    sys.exit(run.main(sys.argv[3:]))
