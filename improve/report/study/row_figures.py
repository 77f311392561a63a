"""The figures of a row of a study's table: its runs along iterations and costs, gains by component, by corruption."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from improve.domain import COMPONENTS
from improve.record.runs import Cost
from improve.report import plotting
from improve.report.plotting import INK, SMALL, Style
from improve.report.study.cells import Cell, Row, Table
from improve.report.study.runs import StudyRun
from improve.report.study.trajectories import (
    along,
    by_iteration,
    candidates,
    gains,
    steps_along,
    with_scores,
)

Drawing = tuple[str, str, Figure]  # name, caption, figure


@dataclass(frozen=True)
class Series:
    """The runs of a cell, as a figure draws them."""

    cell: Cell
    style: Style

    @property
    def runs(self) -> list[StudyRun]:
        return with_scores(self.cell.runs)

    @property
    def label(self) -> str:
        return plotting.words(f"{self.cell.column.label} (n = {len(self.runs)})")


def row_figures(table: Table, omit_failed: bool) -> Iterator[Drawing]:
    """The figures of all rows that have runs."""
    for row in table.rows:
        series = [one for one in _series(table, row) if one.runs]
        if not series:
            continue
        if any(len(run.steps) > 1 for one in series for run in one.runs):
            yield _iterations(row, series, omit_failed)
            yield from _costs(row, series)
            yield from _gains(row, series)
        yield from _kinds(row, series)


def _series(table: Table, row: Row) -> list[Series]:
    return [Series(cell, plotting.style(number)) for number, cell in enumerate(table.line(row))]


def _iterations(row: Row, series: list[Series], omit_failed: bool) -> Drawing:
    figure, axis = plotting.panel(plotting.words(row.label))
    for one in series:
        curve = by_iteration(one.runs, omit_failed=omit_failed)
        whole = curve.n == len(one.runs)
        look = one.style
        tried = candidates(one.runs, omit_failed=omit_failed)
        places, scores = zip(*tried, strict=True)
        axis.scatter(places, scores, s=9, color=look.colour, marker=look.marker, alpha=0.25, linewidths=0)
        axis.plot(curve.places, curve.mean, color=look.colour, linewidth=1, linestyle=":")
        mean = np.where(whole, curve.mean, np.nan)
        axis.plot(
            curve.places,
            mean,
            color=look.colour,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=4,
            label=one.label,
        )
        low, high = curve.mean - curve.std, curve.mean + curve.std
        axis.fill_between(curve.places, low, high, where=whole, color=look.colour, alpha=0.15, linewidth=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    plotting.percents(axis.yaxis)
    failed = "iterations that failed are left out" if omit_failed else "iterations that failed change nothing"
    axis.set(xlabel="iteration with a score" if omit_failed else "iteration", ylabel="best selection accuracy so far")
    plotting.legend(figure)
    caption = (
        f"{row.label}: best selection accuracy so far by iteration, mean and standard deviation over the runs "
        f"(0 is the first pipeline; {failed}; dotted: not all n runs come so far). Pale marks: single candidates."
    )
    return f"iterations {row.label}", caption, figure


def _costs(row: Row, series: list[Series]) -> Iterator[Drawing]:
    hardware = {run.origin["hardware"] for one in series for run in one.runs}
    on_gpu = not any("no GPU" in name or name == "unknown" for name in hardware)
    axes: list[tuple[str, str, Callable[[Cost], float]]] = [
        ("usd", "USD for the language model", lambda cost: np.nan if cost.usd is None else cost.usd),
        ("tokens", "thousand tokens, read and written", lambda cost: cost.tokens / 1000),
        ("minutes", f"{'GPU ' if on_gpu else ''}minutes of training", lambda cost: cost.training_seconds / 60),
    ]
    for name, words, amount in axes:
        # NaN, an unknown price, is not above 0.
        kept = [one for one in series if all(amount(run.spent) > 0 for run in one.runs)]
        if kept:
            yield (
                f"{name} {row.label}",
                f"{row.label}: best selection accuracy so far against {words}.",
                _cost(row, kept, words, amount),
            )


def _cost(row: Row, series: list[Series], words: str, amount: Callable[[Cost], float]) -> Figure:
    figure, axis = plotting.panel(plotting.words(row.label))
    for one in series:
        look = one.style
        for run in one.runs:
            spent, best = steps_along(run, amount)
            if len(spent) == 1:
                axis.plot(spent, best, color=look.colour, marker=look.marker, markersize=5, linestyle="", alpha=0.6)
            axis.step(spent, best, where="post", color=look.colour, linewidth=0.8, alpha=0.4)
        mean = along(one.runs, amount)
        if mean:
            axis.step(
                mean.places,
                mean.mean,
                where="post",
                color=look.colour,
                linestyle=look.dashes,
                linewidth=2,
                label=one.label,
            )
        else:
            axis.plot([], [], color=look.colour, marker=look.marker, linestyle="", label=one.label)
    plotting.percents(axis.yaxis)
    axis.set(xlabel=words, ylabel="best selection accuracy so far", xlim=(0, None))
    plotting.legend(figure)
    return figure


def _gains(row: Row, series: list[Series]) -> Iterator[Drawing]:
    found = [(one, gains(one.runs)) for one in series]
    found = [(one, parts) for one, parts in found if parts]
    if not found:
        return
    figure, axis = plotting.panel(plotting.words(row.label))
    changed = {part.component for _, parts in found for part in parts}
    names = [name for name in (*COMPONENTS, "all") if name in changed]
    width = 0.8 / len(found)
    for number, (one, parts) in enumerate(found):
        for part in parts:
            place = names.index(part.component) + (number - (len(found) - 1) / 2) * width
            mean = statistics.fmean(part.sums)
            reach = mean_reach(part.sums)
            axis.bar(place, mean, 0.9 * width, color=one.style.colour, yerr=reach, ecolor=INK, capsize=3,
                     label=one.label if part is parts[0] else None)  # fmt: skip
            top = mean + (reach or 0.0)
            axis.annotate(f"{part.kept}/{part.tried}", (place, top), (0, 3), textcoords="offset points", ha="center",
                          fontsize=SMALL, color=INK)  # fmt: skip
    axis.set_xticks(range(len(names)), ["several" if name == "all" else name for name in names])
    plotting.percents(axis.yaxis)
    axis.margins(y=0.15)
    axis.set(ylabel="gain of selection accuracy a run")
    plotting.legend(figure)
    caption = (
        f"{row.label}: what changes of each component gained in a run, mean and its 95% interval over the runs "
        "(Student's t; none from one run), on the selection images, which also chose the changes: it flatters. Above "
        "each bar how many of the tries were accepted."
    )
    yield f"gains {row.label}", caption, figure


def mean_reach(values: Sequence[float]) -> float | None:
    """Half the 95% interval of a mean; None from fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t  # a second's import

    return float(t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5)


def _kinds(row: Row, series: list[Series]) -> Iterator[Drawing]:
    series = [one for one in series if one.cell.kinds]
    if not series:
        return
    figure, axis = plotting.panel(plotting.words(row.label))
    names = sorted({name for one in series for name in one.cell.kinds}, reverse=True)
    figure.set_size_inches(plotting.SIZE[0], 1.6 + 0.26 * len(names))
    for number, one in enumerate(series):
        for place, name in enumerate(names):
            values = one.cell.by_kind(name)
            if values:
                std = statistics.stdev(values) if len(values) > 1 else None
                axis.errorbar(statistics.fmean(values), place + 0.15 * (number - (len(series) - 1) / 2), xerr=std,
                              fmt=one.style.marker, color=one.style.colour, markersize=5, capsize=2,
                              label=one.label if place == 0 else None)  # fmt: skip
    axis.set_yticks(range(len(names)), [plotting.words(name.replace("_", " ")) for name in names])
    axis.xaxis.set_major_locator(MaxNLocator(5))
    plotting.percents(axis.xaxis)
    axis.set(xlabel="test accuracy")
    plotting.legend(figure)
    yield f"robustness {row.label}", f"{row.label}: test accuracy by corruption, mean and standard deviation.", figure
