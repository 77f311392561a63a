"""What the report on a study shows, as plain values: made once, laid out by the template of each format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

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
    number: int, table: Table, boards: Mapping[str, Leaderboard], figures: Sequence[FigureView], out: Path
) -> dict[str, Any]:
    """A study's table and all that stands around it; links to the pages of runs are relative to the folder `out`."""
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
            _line(run, f"{cell.row.label}: {cell.column.label}", out) for cell in table.filled for run in cell.runs
        ],
    }


def _line(run: StudyRun, where: str, out: Path) -> dict[str, Any]:
    """One run in the list of runs; `link` is its own page, relative to the report, "" if it has none."""
    page = run.folder / PAGE
    link = quote(os.path.relpath(page.resolve(), out.resolve())) if page.is_file() else ""
    scores = (NONE if value is None else percent(value) for value in (run.first, run.selection, run.accuracy))
    costs = (short_count(run.tokens), money(run.usd, run.rule_based), time_taken(60 * run.minutes))
    doubt = ("†" if run.paper_protocol else "") + ("‡" if not run.verified else "")
    cells = [run.name, where, str(run.seed), run.state + doubt, *scores, *costs]
    return {"link": link, "cells": cells}
