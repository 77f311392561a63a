"""α, γ and β from recorded gains, zeros and failures included.

The model reads the theorem's bounds as expectations: a global iteration t gains αγ^t on average, a local one β. α and γ
solve the Poisson quasi-likelihood with logarithmic link (log mean = ln α + t·ln γ), which asks of the distribution of
gains only that its mean is right: the fitted gains have the recorded total, and the recorded mean iteration
Σ t·gain / Σ gain. Both equations have at most one solution, and none where the data do not decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from improve.theory.estimates import Array, Estimate, estimate, weights

HALVINGS = 60


@dataclass(frozen=True)
class GainTable:
    """Per run and iteration t = 1 … T: the gain, and whether it was recorded (1) or the run had ended (0)."""

    gains: Array
    seen: Array

    @classmethod
    def of(cls, runs: Sequence[Sequence[float]]) -> GainTable:
        width = max(map(len, runs))
        gains, seen = np.zeros((len(runs), width)), np.zeros((len(runs), width))
        for row, values in enumerate(runs):
            gains[row, : len(values)] = values
            seen[row, : len(values)] = 1
        return cls(gains, seen)

    @property
    def runs(self) -> int:
        return len(self.gains)

    @property
    def mean(self) -> Array:
        """The mean gain of each iteration."""
        mean: Array = self.gains.sum(axis=0) / self.seen.sum(axis=0)
        return mean


@dataclass(frozen=True)
class Decay:
    """αγ^t fitted to gains. `draws` holds (α, γ) of the data and of each resample, NaN where there is no solution."""

    alpha: Estimate
    gamma: Estimate
    draws: Array


@dataclass(frozen=True)
class Steady:
    """β, the mean gain; `fall` is by how much it is lower in the second half of the iterations than in the first."""

    beta: Estimate
    draws: Array
    fall: Estimate


def fit_decay(table: GainTable, rng: np.random.Generator, resamples: int) -> Decay:
    """α and γ with intervals by a bootstrap over runs (an iteration depends on those before it, a run on no other)."""
    drawn = weights(rng, table.runs, resamples)
    alpha, gamma = solve(drawn @ table.gains, drawn @ table.seen)
    why = _why_no_decay(table)
    return Decay(estimate(alpha, table.runs, why), estimate(gamma, table.runs, why), np.column_stack([alpha, gamma]))


def fit_steady(table: GainTable, rng: np.random.Generator, resamples: int) -> Steady:
    """β, and whether it falls from the first half of the iterations to the second, which A4 says it does not."""
    drawn = weights(rng, table.runs, resamples)
    middle = (table.gains.shape[1] + 1) // 2
    beta = _mean(drawn, table, slice(None))
    fall = _mean(drawn, table, slice(None, middle)) - _mean(drawn, table, slice(middle, None))
    why = "" if table.gains.any() else "no iteration gained anything"
    return Steady(estimate(beta, table.runs, why), beta, estimate(fall, table.runs, why))


def _mean(drawn: Array, table: GainTable, part: slice) -> Array:
    """The mean gain over a part of the iterations, for each resample; NaN where none of them was recorded."""
    seen = drawn @ table.seen[:, part].sum(axis=1)
    gained = drawn @ table.gains[:, part].sum(axis=1)
    mean: Array = np.divide(gained, seen, out=np.full(len(drawn), np.nan), where=seen > 0)
    return mean


def solve(gains: Array, seen: Array) -> tuple[Array, Array]:
    """α and γ for rows of summed gains and counts by iteration (rows × T); NaN where no 0 < γ < 1 solves a row."""
    times = np.arange(1, gains.shape[1] + 1)
    total = gains.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        moment = (gains @ times) / total
        solvable = (total > 0) & (moment > 1 + 1e-9) & (moment < (seen @ times) / seen.sum(axis=1) - 1e-9)
    low, high = np.zeros(len(gains)), np.ones(len(gains))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shape = seen * middle[:, None] ** times
        # The mean iteration of decaying gains grows with γ.
        early = shape @ times < moment * shape.sum(axis=1)
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    gamma = np.where(solvable, (low + high) / 2, np.nan)
    alpha = total / (seen * gamma[:, None] ** times).sum(axis=1)
    return alpha, gamma


def _why_no_decay(table: GainTable) -> str:
    """Why the data as they are have no 0 < γ < 1; "" if they have."""
    times = np.arange(1, table.gains.shape[1] + 1)
    gains, seen = table.gains.sum(axis=0), table.seen.sum(axis=0)
    if len(times) < 2:
        return "one iteration a run shows no decay"
    if gains.sum() <= 0:
        return "no iteration gained anything"
    if gains @ times <= gains.sum() * (1 + 1e-9):
        return f"all the gain is in the first iteration, so only αγ = {gains[0] / seen[0]:.4g} is known"
    if gains @ times >= (seen @ times) / seen.sum() * gains.sum() * (1 - 1e-9):
        return "the gains do not decay (γ would be 1 or more, against A3)"
    return ""
