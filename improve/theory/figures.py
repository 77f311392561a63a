"""The figures of `improve theory`, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from improve.display.text import count
from improve.report.plotting import GLOBAL, GUESS, LOCAL, panels, save

if TYPE_CHECKING:
    from improve.theory.empirical import Curves
    from improve.theory.fit import Fit, Options
    from improve.theory.quadratics import Array
    from improve.theory.simulate import Descents, Setting


def draw_descents(setting: Setting, descents: list[Descents], folder: Path) -> list[Path]:
    """The gap against tokens, a panel for each coupling: medians, and bands of 10% to 90% of the problems."""
    figure, axes = panels(len(descents))
    cost = setting.cost
    local = np.array([cost.total(step, 1) for step in range(setting.steps + 1)])
    dear = np.array([cost.total(step, setting.modules) for step in range(setting.global_steps + 1)])
    for axis, one in zip(axes, descents, strict=True):
        _band(axis, dear / 1000, one.full, GLOBAL, "all modules at once")
        _band(axis, local / 1000, one.southwell, LOCAL, "worst module (Gauss-Southwell)")
        axis.plot(local / 1000, np.median(one.random, axis=0), color=GUESS, label="random module")
        axis.set(
            title=f"coupling {one.coupling:g}", yscale="log", xlabel="thousand tokens", ylabel="share of the gap left"
        )
    axes[0].legend(frameon=False, fontsize=8)
    return save(figure, folder, "simulate")


def _band(axis: Axes, cost: Array, values: Array, colour: str, label: str) -> None:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    axis.plot(cost, middle, color=colour, label=label)
    axis.fill_between(cost, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_fit(result: Fit, folder: Path, name: str, options: Options) -> list[Path]:
    """Mean gain by iteration with the fitted αγ^t and β, and mean gain so far along each axis that was recorded."""
    figure, axes = panels(1 + len(result.curves))
    _draw_gains(axes[0], result)
    for axis, curves in zip(axes[1:], result.curves, strict=True):
        _draw_curves(axis, curves, options)
    figure.suptitle(result.name, fontsize=11)
    return save(figure, folder, name)


def _draw_gains(axis: Axes, result: Fit) -> None:
    colours = {"iterative": LOCAL, "global": GLOBAL}
    for strategy, table in result.tables.items():
        times = np.arange(1, len(table.mean) + 1)
        axis.plot(
            times,
            table.mean,
            "o",
            clip_on=False,
            color=colours[strategy],
            label=f"{strategy}, {count(table.runs, 'run')}",
        )
    if result.steady and result.steady.beta.value:
        beta = result.steady.beta.value
        axis.axhline(beta, color=LOCAL, linewidth=1, label=f"β = {beta:.3g}")
    if result.decay and result.decay.alpha.value is not None and result.decay.gamma.value is not None:
        alpha, gamma = result.decay.alpha.value, result.decay.gamma.value
        along = np.linspace(1, result.tables["global"].gains.shape[1], 100)
        axis.plot(
            along, alpha * gamma**along, color=GLOBAL, linewidth=1, label=f"αγ^t, α = {alpha:.3g}, γ = {gamma:.3g}"
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="iteration", ylabel="mean gain of selection accuracy", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)


def _draw_curves(axis: Axes, curves: Curves, options: Options) -> None:
    colours = {"iterative": LOCAL, "global": GLOBAL}
    rng = np.random.default_rng(options.seed)
    for strategy, values in curves.gains.items():
        axis.plot(
            curves.places, values.mean(axis=0), color=colours[strategy], label=f"{strategy}, {len(values)} finished"
        )
        band = curves.band(strategy, rng, options.resamples)
        if band:
            axis.fill_between(curves.places, *band, color=colours[strategy], alpha=0.15, linewidth=0)
    if curves.crossing.value is not None:
        axis.axvline(
            curves.crossing.value, color="#555555", linewidth=1, linestyle=":", label="iterative ahead from here"
        )
    axis.set(xlabel=curves.axis.unit, ylabel="mean gain so far", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
