"""What the report on a study shows, as plain values: made once, laid out by the template of each format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from improve import __version__
from improve.display.card import PAGE
from improve.display.text import money, percent, short_count, time_taken
from improve.report.study.cells import Table
from improve.report.study.leaderboard import Leaderboard
from improve.report.study.runs import StudyRun
from improve.report.study.shown import NONE, grids, labels, legend, shown
from improve.report.study.words import endings, headline, notes, story, warnings

RUN_HEADER = ("Run", "Cell", "Seed", "State", "First", "Selection", "Test", "Tokens", "Money", "Time")


class FigureView(NamedTuple):
    """A figure: its folder in the report, the name of its files without their ending, and what it shows."""

    folder: str
    name: str
    caption: str


def table_view(
    number: int,
    table: Table,
    boards: Mapping[str, Leaderboard],
    figures: Sequence[FigureView],
    link: Callable[[StudyRun], str],
) -> dict[str, Any]:
    """A study's table and all that stands around it; `link` gives the address of a run's page, "" if it has none."""
    return {
        "name": f"study-{number}",  # its anchor on the page
        "headline": headline(table),
        "story": story(table),
        "warnings": warnings(table),
        "columns": [column.label for column in table.columns],
        "also": list(table.paper.also) if table.paper else [],
        "rows": [
            {"labels": labels(row), "cells": [shown(cell) for cell in table.line(row)], "also": table.also(row)}
            for row in table.rows
        ],
        "legend": legend(table),
        "printed": any(cell.printed for cell in table.all()),
        "grids": grids(table, boards),
        "figures": figures,
        "notes": notes(table),
        "endings": endings(table),
        "runs": [
            {"link": link(run), "cells": _line(run, f"{cell.row.label}: {cell.column.label}")}
            for cell in table.filled
            for run in cell.runs
        ],
    }


def report_view(tables: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> dict[str, Any]:
    """All tables of a report; `left_out` says which runs are in none of them."""
    headline = tables[0]["headline"] if len(tables) == 1 else f"{len(tables)} studies"
    return {
        "headline": headline,
        "tables": tables,
        "left_out": left_out,
        "run_header": RUN_HEADER,
        "version": __version__,
    }


def relative_link(run: StudyRun, out: Path) -> str:
    """The address of a run's own page, relative to a report in the folder `out`."""
    page = run.folder / PAGE
    return quote(os.path.relpath(page.resolve(), out.resolve())) if page.is_file() else ""


def _line(run: StudyRun, where: str) -> list[str]:
    """One run in the list of runs."""
    scores = (NONE if value is None else percent(value) for value in (run.first, run.selection, run.accuracy))
    costs = (short_count(run.tokens), money(run.usd, run.rule_based), time_taken(60 * run.minutes))
    doubt = ("†" if run.paper_protocol else "") + ("‡" if not run.verified else "")
    return [run.name, where, str(run.seed), run.state + doubt, *scores, *costs]
