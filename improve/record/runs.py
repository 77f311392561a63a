"""The runs that lie below some folders, and what parts of them cost: where every look at several runs starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from improve.errors import DataError
from improve.record.iterations import Iteration
from improve.record.journal import JOURNAL
from improve.spending.costs import costs


@dataclass(frozen=True)
class Cost:
    """What something took: LLM tokens (input and output), USD of the calls (None: price unknown), training seconds.

    Training seconds are those of fitting, also where it failed; journals do not hold those of predicting apart.
    """

    tokens: int
    usd: float | None
    training_seconds: float


def cost_of(iterations: Iterable[Iteration]) -> Cost:
    """What these iterations took together."""
    iterations = list(iterations)
    seconds = sum(iteration.training["fit_seconds"] for iteration in iterations if iteration.training)
    calls = [call for iteration in iterations for call in iteration.calls]
    return Cost(sum(iteration.tokens for iteration in iterations), costs(calls).usd, seconds)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / JOURNAL).is_file()


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """The folders of the runs at or below the paths, each once, in the paths' order and then by name.

    Nothing inside a run's folder is looked at: generated code writes there, and could leave a journal of its own.
    Raises `DataError` for a path that is no folder or holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise DataError(f"{path} is not a folder.", "give the folder of a run, or one that holds folders of runs")
        own = list(run_folders_below(path))
        if not own:
            raise DataError(f"{path} holds no run (no {JOURNAL} in it or below).", "give the folder of a run")
        for folder in own:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def run_folders_below(path: Path) -> Iterator[Path]:
    """The folders of the runs at or below a path, by name; none if it is no folder."""
    for folder, names, files in os.walk(path):
        names.sort()
        if JOURNAL in files:
            names.clear()
            yield Path(folder)
