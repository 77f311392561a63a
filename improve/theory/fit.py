"""`improve theory fit`: parameters of the theorem and the cost model from recorded runs, and their crossover."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from improve.display.text import count, one_line
from improve.errors import ConfigError
from improve.report.study.runs import StudyRun
from improve.theory.crossover import roots
from improve.theory.empirical import Curves, compare
from improve.theory.estimates import FEW, Estimate, estimate
from improve.theory.gains import Decay, GainTable, Steady, fit_decay, fit_steady
from improve.theory.runs import GLOBAL, LOCAL, cautions, gains, group, load, strategy
from improve.theory.spending import MODULES, Spending, fit_spending


@dataclass(frozen=True)
class Options:
    """USD an hour of training, and the size and seed of the bootstrap. Raises `ConfigError` for impossible ones."""

    usd_an_hour: float = 0.0
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.usd_an_hour < float("inf"):
            raise ConfigError(f"--gpu-hour is {self.usd_an_hour:g}, but a price is not negative.", "give 0 USD or more")
        if not 100 <= self.resamples <= 100_000:
            raise ConfigError(
                f"--resamples is {self.resamples}; fewer than 100 give no interval, more than 100,000 take too long.",
                "give --resamples 2000, for instance",
            )
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}, but seeds are not negative.", "give --seed of 0 or more")


@dataclass(frozen=True)
class Fit:
    """Everything fitted to the runs of one data set and one language model; None where no run could tell."""

    runs: tuple[StudyRun, ...]
    tables: dict[str, GainTable]
    steady: Steady | None
    decay: Decay | None
    expected: Estimate | None  # T* of the fitted α, β, γ
    spending: Spending
    curves: list[Curves]

    @property
    def name(self) -> str:
        return " with ".join(group(self.runs[0]))

    def of(self, name: str) -> list[StudyRun]:
        return [run for run in self.runs if strategy(run) == name]


def fit_runs(runs: Sequence[StudyRun], options: Options) -> Fit:
    """Fit the runs of one data set and one language model."""
    rng = np.random.default_rng(options.seed)
    own = {name: [gains(run) for run in runs if strategy(run) == name] for name in (LOCAL, GLOBAL)}
    tables = {name: GainTable.of(table) for name, table in own.items() if table}
    steady = fit_steady(tables[LOCAL], rng, options.resamples) if LOCAL in tables else None
    decay = fit_decay(tables[GLOBAL], rng, options.resamples) if GLOBAL in tables else None
    return Fit(
        runs=tuple(runs),
        tables=tables,
        steady=steady,
        decay=decay,
        expected=_expected(steady, decay, min(map(len, own.values()))) if steady and decay else None,
        spending=fit_spending(runs, rng, options.resamples),
        curves=compare(runs, options.usd_an_hour, rng, options.resamples),
    )


def _expected(steady: Steady, decay: Decay, runs: int) -> Estimate:
    """T* of the fitted parameters. `runs`: of the strategy that has fewer.

    The runs of one strategy do not depend on those of the other, so their resamples are paired freely.
    """
    unknown = [name for part, name in ((steady.beta, "β"), (decay.gamma, "γ")) if not part.identified]
    alpha, gamma = decay.draws.T
    steps = np.ceil(np.fmax(roots(alpha, steady.draws, gamma), 1) - 1e-9)
    steps[np.isnan(gamma)] = np.nan
    if np.isinf(steps[0]):  # β = 0: never; in a resample that is an end of the interval, here it is no value
        steps[0] = np.nan
    return estimate(steps, runs, f"it needs {' and '.join(unknown)}" if unknown else "")


def fit(paths: Sequence[Path], options: Options, folder: Path) -> list[str]:
    """The fits of all runs below the paths, a section for each data set and model; writes their figures."""
    from improve.theory.figures import draw_fit

    runs, notes = load(paths)
    lines = []
    for names in sorted({group(run) for run in runs}):
        result = fit_runs([run for run in runs if group(run) == names], options)
        name = "fit-" + re.sub(r"[^a-zA-Z0-9_.-]+", "-", "-".join(names))
        lines += [*section(result), *(f"  figure: {file}" for file in draw_fit(result, folder, name, options)), ""]
    return [*lines, *cautions(runs), *map(one_line, notes)]


def section(result: Fit) -> list[str]:
    """One data set's and model's fits as lines of text."""
    lines = [f"{one_line(result.name)}: " + ", ".join(_amount(result, name) for name in (LOCAL, GLOBAL))]
    lines.append("  gain an iteration, of selection accuracy in [0, 1]; rejected and failed iterations count as 0")
    lines += [f"    {label:<{26}} {text}" for label, text in _gain_rows(result)]
    lines.append(f"  tokens: c0 once, then m·(c1 + c2·(t − 1)) in iteration t, m = 1 or p = {MODULES}")
    lines += [f"    {label:<{26}} {text}" for label, text in _token_rows(result.spending)]
    lines.append("  training seconds (failures included; 0 where no training was started)")
    lines += [f"    {label:<{26}} {one.text('.3g')}" for label, one in result.spending.seconds.items()]
    lines.append(f"  from where on the runs of {LOCAL} have gained at least as much, as recorded")
    lines += [f"    {label:<{26}} {text}" for label, text in _crossing_rows(result)]
    fewest = min(len(table.gains) for table in result.tables.values())
    if fewest < FEW:
        lines.append(
            f"  From {count(fewest, 'run')} of a strategy the intervals hold the truth less often than 95%;"
            f" take {FEW} or more."
        )
    return lines


def _amount(result: Fit, name: str) -> str:
    own = result.of(name)
    return f"{count(len(own), 'run')} of {name} ({count(sum(len(gains(run)) for run in own), 'iteration')})"


def _gain_rows(result: Fit) -> list[tuple[str, str]]:
    rows = []
    if result.steady:
        rows += [
            ("β (iterative, mean)", result.steady.beta.text()),
            ("A4, β does not fall", _steadiness(result.steady)),
        ]
        rows += _room(result)
    else:
        rows.append(("β (iterative, mean)", f"not identified: no run of {LOCAL}"))
    if result.decay:
        rows += [("α (global)", result.decay.alpha.text()), ("γ (global)", result.decay.gamma.text())]
    else:
        rows.append(("α, γ (global)", f"not identified: no run of {GLOBAL}"))
    if result.expected:
        recorded = min(table.gains.shape[1] for table in result.tables.values())
        beyond = f", beyond the {recorded} recorded" if (result.expected.value or 0) > recorded else ""
        rows.append(("T* (Theorem 3.1)", result.expected.text() + beyond))
    return rows


def _room(result: Fit) -> list[tuple[str, str]]:
    """How long β can last at all: an accuracy ends at 1."""
    beta = result.steady.beta.value if result.steady else None
    if not beta:
        return []
    room = float(np.mean([1 - (run.steps[0].accuracy or 0) for run in result.of(LOCAL)]))
    return [("A4 at the most", f"for {room / beta:.0f} iterations: then the accuracy would pass 1")]


def _steadiness(steady: Steady) -> str:
    fall = steady.fall
    if fall.low is None or fall.high is None or fall.value is None:
        return f"cannot be told: {fall.why}"
    change = f"from the first half of the iterations to the second it falls by {fall.text()}"
    if fall.low > 0:
        return f"contradicted: {change}, so βT overstates what later iterations gain"
    return f"not contradicted: {change}"


def _token_rows(spending: Spending) -> list[tuple[str, str]]:
    rows = [(name, one.text(",.1f")) for name, one in spending.tokens.items()]
    if spending.unexplained is not None:
        rows.append(("left unexplained", f"{spending.unexplained:.0%} of the variance of the iterations' tokens"))
    if spending.dearer:
        rows.append(("global / iterative", f"{spending.dearer.text('.3g')} an iteration; the model says {MODULES}"))
    return rows


def _crossing_rows(result: Fit) -> list[tuple[str, str]]:
    if not result.curves:
        return [("iterations", "not identified: no run has finished")]
    rows = []
    for curves in result.curves:
        form = ",.0f" if curves.axis.name == "tokens" else ".4g"
        reach = f"; recorded up to {curves.places[-1]:{form}} {curves.axis.unit}"
        rows.append((curves.axis.name, curves.crossing.text(form) + reach))
    return rows
