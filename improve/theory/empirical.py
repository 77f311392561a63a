"""The crossover as recorded: from where on the runs of `iterative` have gained at least as much as those of `global`.

No model: mean gains over each strategy's finished runs are compared along iterations, tokens, money or training time,
as far as all those runs reach, and a bootstrap over runs says how sure the place is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from improve.record.runs import Cost
from improve.report.study.runs import StudyRun
from improve.report.study.trajectories import reached, shared_places, steps_along
from improve.theory.estimates import NEEDED, Array, Estimate, ends, too_few, weights
from improve.theory.runs import GLOBAL, LOCAL, gains, strategy


@dataclass(frozen=True)
class Axis:
    """What gains are compared along; `unit` completes "after 12 …"."""

    name: str
    unit: str


@dataclass(frozen=True)
class Curves:
    """Gains so far of each strategy's runs (runs × places) along `places`; `crossing` is where local gets ahead."""

    axis: Axis
    places: Array
    gains: dict[str, Array]
    crossing: Estimate

    def band(self, strategy: str, rng: np.random.Generator, resamples: int) -> tuple[Array, Array] | None:
        """The ends of the mean's 95% bootstrap interval at each place; None from too few runs."""
        values = self.gains[strategy]
        if len(values) < NEEDED:
            return None
        return ends(weights(rng, len(values), resamples)[1:] @ values / len(values), len(values))


def compare(runs: Sequence[StudyRun], usd_an_hour: float, rng: np.random.Generator, resamples: int) -> list[Curves]:
    """Curves along every axis that the runs can be compared on; with one strategy's runs there is no crossing."""
    runs = [run for run in runs if run.finished]
    if not runs:
        return []

    def money(cost: Cost) -> float:
        return np.nan if cost.usd is None else cost.usd + cost.training_seconds / 3600 * usd_an_hour

    costs: list[tuple[Axis, Callable[[Cost], float]]] = [
        (Axis("tokens", "tokens"), lambda cost: cost.tokens),
        (Axis("money", "USD"), money),
        (Axis("training time", "minutes of training"), lambda cost: cost.training_seconds / 60),
    ]
    gained = [np.cumsum([0.0, *gains(run)]) for run in runs]
    last = min(map(len, gained))
    paths = [(Axis("iterations", "iterations"), np.arange(1.0, last), [own[1:last] for own in gained])]
    for axis, amount in costs:
        spent = [steps_along(run, amount)[0] for run in runs]
        places = shared_places(spent)
        if places is not None and all(own[-1] > 0 for own in spent):  # NaN, an unknown price, is not above 0
            paths.append((axis, places, [reached(places, *path) for path in zip(spent, gained, strict=True)]))
    names = [strategy(run) for run in runs]
    return [_curves(axis, places, names, np.array(values), rng, resamples) for axis, places, values in paths]


def _curves(
    axis: Axis, places: Array, names: list[str], values: Array, rng: np.random.Generator, resamples: int
) -> Curves:
    own = {name: values[[one == name for one in names]] for name in (LOCAL, GLOBAL) if name in names}
    return Curves(axis, places, own, _crossing(places, own, rng, resamples))


def _crossing(places: Array, own: dict[str, Array], rng: np.random.Generator, resamples: int) -> Estimate:
    """The first place from which on the local mean is nowhere below the global one, to the end of what is recorded."""
    if len(own) < 2:
        return Estimate(None, why=f"runs of {GLOBAL if LOCAL in own else LOCAL} are needed too")
    local, other = own[LOCAL], own[GLOBAL]
    means = [weights(rng, len(one), resamples) @ one / len(one) for one in (local, other)]
    lead = means[0] - means[1]
    lead[np.abs(lead) < 1e-12] = 0.0  # equal gains, added up in another order
    found = np.array([_first_ahead(places, row) for row in lead])
    if np.isnan(found[0]):
        return Estimate(None, why=_behind(lead[0]))
    fewest = min(len(local), len(other))
    if fewest < NEEDED:
        return Estimate(float(found[0]), why=f"{too_few(fewest)} (of a strategy)")
    low, high = ends(np.where(np.isnan(found[1:]), np.inf, found[1:]), fewest)
    return Estimate(float(found[0]), float(low), float(high))


def _first_ahead(places: Array, lead: Array) -> float:
    if not lead.any():
        return float("nan")
    behind = np.flatnonzero(lead < 0)
    if len(behind) == 0:
        return float(places[0])
    return float(places[behind[-1] + 1]) if behind[-1] + 1 < len(places) else float("nan")


def _behind(lead: Array) -> str:
    return "the strategies gained the same throughout" if not lead.any() else "local is behind at the end of the record"
