"""An estimate with its interval, or the reason why the data cannot tell; and the bootstrap over runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

Array: TypeAlias = NDArray[np.float64]
KNOWN = 0.95  # share of the resamples that must have a value, for an interval to be given
NEEDED = 3  # runs, below which no interval is given
FEW = 8  # runs, below which intervals are still too narrow (`python benchmarks/theory_intervals.py`)


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
    if runs < NEEDED:
        return Estimate(value, why=too_few(runs))
    known = drawn[~np.isnan(drawn)]
    if len(known) < KNOWN * len(drawn):
        share = 1 - len(known) / len(drawn)
        return Estimate(value, why=f"in {share:.0%} of the resamples the data cannot tell")
    low, high = ends(known, runs)
    return Estimate(value, float(low), float(high))


def too_few(runs: int) -> str:
    number = "one run" if runs == 1 else f"{runs} runs"
    return f"{number} only, so little tells how runs differ"


def ends(drawn: Array, runs: int) -> tuple[Array, Array]:
    """The ends of the 95% interval: percentiles of the resamples (rows), wider for few runs, as Student's t is.

    Hesterberg's expanded percentile interval ("What Teachers Should Know About the Bootstrap", The American
    Statistician, 2015). Resamples may be infinite.
    """
    reach = float(norm.cdf(-np.sqrt(runs / (runs - 1)) * t.ppf(0.975, runs - 1)))
    low, high = np.quantile(drawn, [reach, 1 - reach], axis=0, method="closest_observation")
    return low, high
