"""The crossover as recorded: from where on the runs of `iterative` have gained at least as much as those of `global`.

No model: mean gains over each strategy's finished runs are compared along iterations, tokens, money or training time,
as far as all those runs reach, and a bootstrap over runs says how sure the place is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from improve.record.runs import Cost
from improve.theory.estimates import NEEDED, Array, Estimate, ends, too_few, weights
from improve.theory.runs import GLOBAL, LOCAL, RecordedRun

GRID = 400  # places along an axis of cost


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


def compare(runs: Sequence[RecordedRun], usd_an_hour: float, rng: np.random.Generator, resamples: int) -> list[Curves]:
    """Curves along every axis that the runs can be compared on; with one strategy's runs there is no crossing."""
    runs = [run for run in runs if run.finished]
    groups = {name: [run for run in runs if run.strategy == name] for name in (LOCAL, GLOBAL)}
    groups = {name: own for name, own in groups.items() if own}
    if not groups:
        return []
    found = [_by_iteration(groups, rng, resamples)]
    for axis in _cost_axes(runs, usd_an_hour):
        curves = _by_cost(axis, groups, usd_an_hour, rng, resamples)
        if curves:
            found.append(curves)
    return found


def _cost_axes(runs: Sequence[RecordedRun], usd_an_hour: float) -> list[Axis]:
    axes = []
    if all(run.start.tokens or any(step.cost.tokens for step in run.steps) for run in runs):
        axes.append(Axis("tokens", "tokens"))
    spent = [_amounts(run, Axis("money", ""), usd_an_hour)[-1] for run in runs]
    if all(amount > 0 for amount in spent):  # NaN, an unknown price, is not above 0
        axes.append(Axis("money", "USD"))
    if all(_amounts(run, Axis("training time", ""), 0)[-1] > 0 for run in runs):
        axes.append(Axis("training time", "minutes of training"))
    return axes


def _amount(cost: Cost, axis: Axis, usd_an_hour: float) -> float:
    if axis.name == "tokens":
        return float(cost.tokens)
    if axis.name == "training time":
        return cost.training_seconds / 60
    return float("nan") if cost.usd is None else cost.usd + cost.training_seconds / 3600 * usd_an_hour


def _amounts(run: RecordedRun, axis: Axis, usd_an_hour: float) -> Array:
    """What the run had cost after its first pipeline and after each iteration: 1 + T values."""
    costs = [run.start, *(step.cost for step in run.steps)]
    return np.cumsum([_amount(cost, axis, usd_an_hour) for cost in costs])


def _gained(run: RecordedRun) -> Array:
    """The gain so far after the first pipeline (0) and after each iteration."""
    return np.cumsum([0.0, *run.gains])


def _by_iteration(groups: dict[str, list[RecordedRun]], rng: np.random.Generator, resamples: int) -> Curves:
    last = min(len(run.steps) for own in groups.values() for run in own)
    places = np.arange(1, last + 1, dtype=float)
    gains = {name: np.array([_gained(run)[1 : last + 1] for run in own]) for name, own in groups.items()}
    return Curves(Axis("iterations", "iterations"), places, gains, _crossing(places, gains, rng, resamples))


def _by_cost(
    axis: Axis, groups: dict[str, list[RecordedRun]], usd_an_hour: float, rng: np.random.Generator, resamples: int
) -> Curves | None:
    """From where every run has its first pipeline to where the first of them ends; None if there is no such part."""
    spent = {name: [_amounts(run, axis, usd_an_hour) for run in own] for name, own in groups.items()}
    first = max(amounts[0] for own in spent.values() for amounts in own)
    last = min(amounts[-1] for own in spent.values() for amounts in own)
    if last <= first:
        return None
    places = np.linspace(first, last, GRID)
    gains = {
        name: np.array(
            [
                _gained(run)[np.searchsorted(amounts, places * (1 + 1e-12), side="right") - 1]
                for run, amounts in zip(own, spent[name], strict=True)
            ]
        )
        for name, own in groups.items()
    }
    return Curves(axis, places, gains, _crossing(places, gains, rng, resamples))


def _crossing(places: Array, gains: dict[str, Array], rng: np.random.Generator, resamples: int) -> Estimate:
    """The first place from which on the local mean is nowhere below the global one, to the end of what is recorded."""
    if len(gains) < 2:
        return Estimate(None, why=f"runs of {GLOBAL if LOCAL in gains else LOCAL} are needed too")
    local, other = gains[LOCAL], gains[GLOBAL]
    means = [weights(rng, len(own), resamples) @ own / len(own) for own in (local, other)]
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
