"""`python -m tests.support.ended_last PLACE [KEY=VALUE]…`: improve.run, in which one training ends after its siblings.

In each iteration of several candidates the one at PLACE (from 1) is not done before what became of all others is kept.
All else is the real thing.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from improve.execution.fit import Fit
from improve.execution.local import LocalExecutor
from improve.record.numbering import Numbering
from improve.refinement.side_by_side import HELD
from improve.run import main

CANDIDATES = 2


def last(place: int) -> None:
    """Have `LocalExecutor.fit` wait so."""
    fit = LocalExecutor.fit

    def waiting(executor: LocalExecutor, iteration: int, *given: Any, replicate: int = 0, **named: Any) -> Fit:
        made = fit(executor, iteration, *given, replicate=replicate, **named)
        numbering = Numbering(CANDIDATES)
        if iteration and not replicate and numbering.place(iteration) == place:
            others = {*numbering.numbers(numbering.iteration(iteration))} - {iteration}
            files = [executor.folder / HELD / f"training-{number}.json" for number in others]
            while not executor.stopped and not all(file.exists() for file in files):
                time.sleep(0.01)
        return made

    LocalExecutor.fit = waiting  # type: ignore[method-assign]


if __name__ == "__main__":
    last(int(sys.argv.pop(1)))
    sys.exit(main())
