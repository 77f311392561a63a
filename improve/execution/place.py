"""What one cell sees of a candidate: copies of its own, so that it finds no trace of another in them."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from improve.domain import COMPONENTS
from improve.pipeline.export import delivered_weights
from improve.sandbox import remove

READABLE = 0o755  # also for the user as whom generated code runs


class Place:
    """A folder of one cell, whose name tells nothing: `pipeline`, `weights`, and `work`, which the cell writes to.

    What is in a file's cache, and when it was last read, could be asked for by whoever sees the same file.
    """

    def __init__(self, above: Path) -> None:
        self.folder = above / secrets.token_hex(4)
        self.pipeline, self.weights, self.work = (self.folder / name for name in ("pipeline", "weights", "work"))
        for path in (self.folder, self.pipeline, self.weights, self.work):
            path.mkdir(parents=True)
            path.chmod(READABLE)

    def fill(self, candidate: Path, delivered: Path | None) -> None:
        """Put the components of the folder `candidate` there, and the weights of `delivered`, unopened."""
        for name in COMPONENTS:
            shutil.copyfile(candidate / f"{name}.py", self.pipeline / f"{name}.py")
        if delivered:
            for file in delivered_weights(delivered):
                shutil.copyfile(file, self.weights / file.name)
        for path in (*self.pipeline.iterdir(), *self.weights.iterdir()):
            path.chmod(READABLE & 0o666)

    def remove(self) -> None:
        remove(self.folder)
