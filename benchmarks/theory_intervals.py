"""Do the 95% intervals of `improve theory fit` hold what they promise? By hand: python benchmarks/theory_intervals.py

Runs of known α, β and γ are made up: an iteration gains with probability `--luck`, then an exponential amount of the
right mean, so the mean gain is αγ^t (global) or β (local). Counted is how often each interval holds the true value, and
how often the parameter is "not identified".
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from improve.theory.estimates import Array, Estimate
from improve.theory.gains import GainTable, fit_decay, fit_steady

ALPHA, BETA, GAMMA = 0.3, 0.05, 0.6
RUNS = (2, 3, 5, 8, 12, 20, 50)


def gains(rng: np.random.Generator, runs: int, means: Array, luck: float) -> GainTable:
    size = (runs, len(means))
    return GainTable.of((rng.exponential(means / luck, size) * (rng.random(size) < luck)).tolist())


def held(estimates: list[Estimate], true: float) -> str:
    """The share of the intervals that hold the true value, and the share without an interval."""
    known = [one for one in estimates if one.low is not None and one.high is not None]
    inside = sum(one.low <= true <= one.high for one in known if one.low is not None and one.high is not None)
    share = f"{inside / len(known):.0%}" if known else "none"
    return f"{share} ({1 - len(known) / len(estimates):.0%} not identified)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300, help="made up for each row; default: 300")
    parser.add_argument("--iterations", type=int, default=8, help="of a run; default: 8")
    parser.add_argument("--luck", type=float, default=0.5, help="share of iterations that gain; default: 0.5")
    given = parser.parse_args()
    times = np.arange(1, given.iterations + 1)
    table = Table("runs of a strategy", "α", "γ", "β", title="intervals of 95% that hold the true value")
    for runs in RUNS:
        rng = np.random.default_rng(runs)
        decays, steadies = [], []
        for _ in range(given.studies):
            decays.append(fit_decay(gains(rng, runs, ALPHA * GAMMA**times, given.luck), rng, 300))
            steadies.append(fit_steady(gains(rng, runs, np.full(len(times), BETA), given.luck), rng, 300))
        table.add_row(
            str(runs),
            held([one.alpha for one in decays], ALPHA),
            held([one.gamma for one in decays], GAMMA),
            held([one.beta for one in steadies], BETA),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
