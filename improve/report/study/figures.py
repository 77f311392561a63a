"""The figures of a study, a panel a file: SVG for the page and for papers, PNG beside it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from improve.display.text import count
from improve.report import plotting
from improve.report.plotting import INK
from improve.report.study.cells import Table
from improve.report.study.row_figures import Drawing, row_figures
from improve.report.study.runs import StudyRun
from improve.report.study.trajectories import failures
from improve.report.study.view import FigureView

FOLDER = "figures"
CREATOR = "improve report on a study"


def draw_figures(table: Table, out: Path, prefix: str, *, omit_failed: bool) -> list[FigureView]:
    """Write all figures of a table below `out` and say what they show. Figures that would be empty are left out."""
    made: list[FigureView] = []
    for name, caption, figure in (*row_figures(table, omit_failed), *_of_table(table)):
        file = _unique(prefix + name, made)
        plotting.save(figure, out / FOLDER, file, CREATOR)
        made.append(FigureView(FOLDER, file, caption))
    return made


def _unique(name: str, made: Sequence[FigureView]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100]
    taken = {figure.name for figure in made}
    return next(one for one in (slug, *(f"{slug}-{number}" for number in range(2, len(made) + 3))) if one not in taken)


def _of_table(table: Table) -> Iterator[Drawing]:
    yield from _selection(table)
    yield from _failures(table)


def _selection(table: Table) -> Iterator[Drawing]:
    scored = [run for run in table.runs if run.flattery is not None]
    if not scored:
        return
    figure, axis = plotting.panel("How much selection flatters")
    for number, column in enumerate(table.columns):
        look = plotting.style(number)
        runs = [run for row in table.rows for run in table.cells[row, column].runs if run.flattery is not None]
        for paper, face in ((False, look.colour), (True, "none")):
            own = [run for run in runs if run.paper_protocol is paper]
            if own:
                label = plotting.words(f"{column.label} (n = {len(own)}{', protocol: paper' if paper else ''})")
                accuracies, flatteries = [run.accuracy or 0.0 for run in own], [run.flattery or 0.0 for run in own]
                axis.scatter(accuracies, flatteries, s=26, facecolors=face, edgecolors=look.colour, marker=look.marker,
                             label=label)  # fmt: skip
    axis.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    for one in (axis.xaxis, axis.yaxis):
        plotting.percents(one)
    axis.set(xlabel="test accuracy of the best pipeline", ylabel="its selection accuracy − test accuracy")
    plotting.legend(figure)
    yield "selection", _flattery(scored), figure


def _flattery(scored: Sequence[StudyRun]) -> str:
    honest = [run.flattery for run in scored if run.flattery is not None and not run.paper_protocol]
    caption = "How far the selection accuracy of each run's best pipeline lies above its test accuracy"
    if honest:
        caption += f": on average {100 * statistics.fmean(honest):+.2f} pp (n = {len(honest)})"
    if len(honest) < len(scored):
        caption += ". Hollow: protocol: paper, where both are the same images"
    return f"{caption}."


def _failures(table: Table) -> Iterator[Drawing]:
    by_column = {
        column: failures([run for row in table.rows for run in table.cells[row, column].runs])
        for column in table.columns
    }
    total = failures(table.runs)
    if not total:
        return
    figure, axis = plotting.panel("Iterations without a score")
    names = list(reversed(total))
    figure.set_size_inches(plotting.SIZE[0], 1.7 + 0.3 * len(names))
    left = np.zeros(len(names))
    for number, (column, counts) in enumerate(by_column.items()):
        if counts:
            widths = np.array([counts.get(name, 0) for name in names], dtype=float)
            label = plotting.words(f"{column.label} ({sum(counts.values())})")
            axis.barh(names, widths, 0.6, left=left, color=plotting.style(number).colour, label=label)
            left += widths
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="iterations")
    plotting.legend(figure)
    iterations = sum(len(run.steps) for run in table.runs)
    caption = f"Why candidates have no score: {sum(total.values())} of {count(iterations, 'iteration')}."
    yield "failures", caption, figure
