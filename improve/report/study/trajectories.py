"""How runs got to their best pipeline: the best selection accuracy so far along iterations, tokens, money and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from improve.domain import COMPONENTS
from improve.record.runs import Cost
from improve.report.study.runs import StudyRun

Array: TypeAlias = NDArray[np.float64]
GRID = 400  # places along an axis of cost


@dataclass(frozen=True)
class Curve:
    """Mean and standard deviation (n - 1; NaN for one run) over the `n` runs that have a value at each place."""

    places: Array
    mean: Array
    std: Array
    n: NDArray[np.int64]


@dataclass(frozen=True)
class Gain:
    """What changes of one component gained: the summed gain of each run, and how many of the tries were kept."""

    component: str
    sums: tuple[float, ...]
    kept: int
    tried: int


def with_scores(runs: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs that have a pipeline with a score on the selection images, finished or not."""
    return [run for run in runs if any(step.best is not None for step in run.steps)]


def by_iteration(runs: Sequence[StudyRun], *, omit_failed: bool) -> Curve:
    """The best so far after each iteration; 0 is the first pipeline.

    `omit_failed`: iterations without a score are left out and the others numbered anew, as in the paper's Figure 2;
    a run then ends where it has no further one. Else they stay, and change nothing.
    """
    paths = [_path(run, omit_failed) for run in runs]
    width = max((len(path) for path in paths), default=0)
    values = np.full((len(paths), width), np.nan)
    for line, path in zip(values, paths, strict=True):
        line[: len(path)] = path
    return _curve(np.arange(width, dtype=float), values)


def _path(run: StudyRun, omit_failed: bool) -> list[float]:
    steps = [step for step in run.steps if step.accuracy is not None or not omit_failed]
    return [np.nan if step.best is None else step.best for step in steps]


def candidates(runs: Sequence[StudyRun], *, omit_failed: bool) -> list[tuple[int, float]]:
    """Iteration and selection accuracy of every candidate with a score, numbered as by `by_iteration`."""
    found = []
    for run in runs:
        steps = [step for step in run.steps if step.accuracy is not None or not omit_failed]
        found += [(place, step.accuracy) for place, step in enumerate(steps) if step.accuracy is not None]
    return found


def steps_along(run: StudyRun, amount: Callable[[Cost], float]) -> tuple[Array, Array]:
    """What the run had spent after each iteration from its first score on, and its best so far then."""
    kept = [step for step in run.steps if step.best is not None]
    return np.array([amount(step.spent) for step in kept]), np.array([step.best for step in kept], dtype=float)


def along(runs: Sequence[StudyRun], amount: Callable[[Cost], float]) -> Curve | None:
    """The mean best so far, as far as all the runs reach; None if nowhere."""
    paths = [steps_along(run, amount) for run in runs]
    places = shared_places([spent for spent, _ in paths])
    return None if places is None else _curve(places, np.array([reached(places, *path) for path in paths]))


def shared_places(spent: Sequence[Array]) -> Array | None:
    """Places from where every run has its first score to where the first of them ends; None if there is no such part.

    `spent`: for each run what it had taken after each step, rising.
    """
    first, last = max((own[0] for own in spent), default=0), min((own[-1] for own in spent), default=0)
    return np.linspace(first, last, GRID) if last > first else None


def reached(places: Array, spent: Array, values: Array) -> Array:
    """The value of the last step that a run had paid for at each place."""
    return values[np.searchsorted(spent, places * (1 + 1e-12), side="right") - 1]


def _curve(places: Array, values: Array) -> Curve:
    n = np.sum(~np.isnan(values), axis=0)
    safe = np.maximum(n, 1)
    mean = np.where(n > 0, np.nansum(values, axis=0) / safe, np.nan)
    squares = np.nansum((values - mean) ** 2, axis=0)
    std = np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)
    return Curve(places, mean, std, n)


def gains(runs: Sequence[StudyRun]) -> list[Gain]:
    """What each component's changes gained, of the components that were changed at all; failures are tries, too."""
    names = [name for name in (*COMPONENTS, "all") if any(step.component == name for run in runs for step in run.steps)]
    return [
        Gain(
            component=name,
            sums=tuple(_gained(run, name) for run in runs),
            kept=sum(step.accepted for run in runs for step in run.steps if step.component == name),
            tried=sum(step.component == name for run in runs for step in run.steps),
        )
        for name in names
    ]


def _gained(run: StudyRun, component: str) -> float:
    """By all trainings of the run, where it claims that; else by the verdicts, which knew fewer."""
    if run.components is not None:
        return run.components.get(component, 0.0)
    return sum(step.gain for step in run.steps if step.component == component)


def failures(runs: Sequence[StudyRun]) -> dict[str, int]:
    """How many iterations have no score, by reason, the commonest first."""
    reasons = [step.reason for run in runs for step in run.steps if step.reason]
    return {
        reason: reasons.count(reason) for reason in sorted(set(reasons), key=lambda one: (-reasons.count(one), one))
    }
