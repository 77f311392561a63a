"""What the report on a study shows, as plain values: made once, laid out by each format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from improve import __version__
from improve.display.card import PAGE
from improve.display.text import money, percent, short_count, time_taken
from improve.report.study.cells import Table
from improve.report.study.leaderboard import Leaderboard
from improve.report.study.runs import StudyRun
from improve.report.study.shown import NONE, Grid, Shown, grids, labels, legend, shown
from improve.report.study.words import endings, headline, notes, story, warnings


@dataclass(frozen=True)
class RowView:
    """A line of the main table: dataset, language model, a cell by column, what else the paper prints."""

    labels: tuple[str, str]
    cells: tuple[Shown, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class RunLine:
    """One run in the list of runs; `link` is its own page, relative to the report, "" if it has none."""

    name: str
    link: str
    where: str
    seed: int
    state: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class FigureView:
    """A figure: its folder in the report, the name of its files without their ending, and what it shows."""

    folder: str
    name: str
    caption: str


@dataclass(frozen=True)
class TableView:
    """A study. `name` is its anchor on the page."""

    name: str
    headline: str
    story: tuple[str, ...]
    warnings: tuple[str, ...]
    columns: tuple[str, ...]
    also: tuple[str, ...]
    rows: tuple[RowView, ...]
    legend: tuple[str, ...]
    grids: tuple[Grid, ...]
    figures: tuple[FigureView, ...]
    notes: tuple[str, ...]
    endings: tuple[str, ...]
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class StudyView:
    """All tables of a report; `left_out` says which runs are in none of them; `version` is ours."""

    tables: tuple[TableView, ...]
    left_out: tuple[str, ...]
    version: str = __version__

    @property
    def headline(self) -> str:
        return self.tables[0].headline if len(self.tables) == 1 else f"{len(self.tables)} studies"


def table_view(
    number: int, table: Table, boards: Mapping[str, Leaderboard], figures: Sequence[FigureView], out: Path
) -> TableView:
    """A study's view; links to the pages of runs are relative to the folder `out`."""
    return TableView(
        name=f"study-{number}",
        headline=headline(table),
        story=tuple(story(table)),
        warnings=tuple(warnings(table)),
        columns=tuple(column.label for column in table.columns),
        also=table.paper.also if table.paper else (),
        rows=tuple(
            RowView(labels(row), tuple(shown(cell) for cell in table.line(row)), table.also(row)) for row in table.rows
        ),
        legend=tuple(legend(table)),
        grids=tuple(grids(table, boards)),
        figures=tuple(figures),
        notes=tuple(notes(table)),
        endings=tuple(endings(table)),
        runs=tuple(
            _line(run, f"{cell.row.label}: {cell.column.label}", out) for cell in table.filled for run in cell.runs
        ),
    )


RUN_HEADER = ("Run", "Cell", "Seed", "State", "First", "Selection", "Test", "Tokens", "Money", "Time")


def _line(run: StudyRun, where: str, out: Path) -> RunLine:
    page = run.folder / PAGE
    link = quote(os.path.relpath(page.resolve(), out.resolve())) if page.is_file() else ""
    scores = (NONE if value is None else percent(value) for value in (run.first, run.selection, run.accuracy))
    costs = (short_count(run.tokens), money(run.usd, run.rule_based), time_taken(60 * run.minutes))
    doubt = ("†" if run.paper_protocol else "") + ("‡" if not run.verified else "")
    return RunLine(run.name, link, where, run.seed, run.state + doubt, (*scores, *costs))
