"""An estimate with its interval, or the reason why the data cannot tell; and the bootstrap over runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
NEEDED = 0.95  # share of the resamples that must have a value, for an interval to be given
FEW = 8  # runs, below which a bootstrap's intervals are known to be too narrow


@dataclass(frozen=True)
class Estimate:
    """`value` with its 95% interval; `why` is set, and the interval missing, where the data cannot tell."""

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def identified(self) -> bool:
        return not self.why

    def text(self, form: str = ".4g") -> str:
        """ "0.3 (95%: 0.25 to 0.36)" or "not identified: why (best guess 0.3)"."""
        if self.why:
            guess = "" if self.value is None else f" (best guess {self.value:{form}})"
            return f"not identified: {self.why}{guess}"
        high = "beyond the record" if self.high is not None and np.isinf(self.high) else f"{self.high:{form}}"
        return f"{self.value:{form}} (95%: {self.low:{form}} to {high})"


def weights(rng: np.random.Generator, runs: int, resamples: int) -> Array:
    """How often each run is drawn: resamples × runs; the first row is the data as they are."""
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples).astype(float)
    return np.vstack([np.ones((1, runs)), drawn])


def estimate(values: Array, runs: int, why: str = "") -> Estimate:
    """From the value for the data (first) and for each resample; NaN where there is none, `why` says for the first."""
    value, drawn = float(values[0]), values[1:]
    if np.isnan(value):
        return Estimate(None, why=why or "nothing is recorded for it")
    if why:
        return Estimate(value, why=why)
    if runs < 2:
        return Estimate(value, why="one run only, so nothing tells how runs differ")
    known = drawn[~np.isnan(drawn)]
    if len(known) < NEEDED * len(drawn):
        share = 1 - len(known) / len(drawn)
        return Estimate(value, why=f"in {share:.0%} of the resamples the data cannot tell")
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
