"""`python -m tests.support.killed_beside FOLDER CACHE [KEY=VALUE]…`: a made run that kills itself by SIGKILL.

In its first iteration of three candidates, while the first one trains and the two others have ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from improve.datasets import prepare
from improve.execution.fit import Fit
from improve.refinement.side_by_side import HELD
from tests.support import made_executor
from tests.support.made_executor import MadeExecutor, config_of, refine


class Killed(MadeExecutor):
    def fit(self, iteration: int, *given: Any, **named: Any) -> Fit:
        if iteration == 1:
            while not all((self.folder / HELD / f"training-{number}.json").exists() for number in (2, 3)):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(iteration, *given, **named)


if __name__ == "__main__":
    made_executor.MadeExecutor = Killed  # type: ignore[misc]
    folder, cache, *settings = sys.argv[1:]
    refine(Path(folder), prepare(config_of(*settings).dataset, Path(cache), lambda note: None), *settings)
