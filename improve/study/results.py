"""The numbers of a study on the terminal: a line for each strategy of each dataset and model. No name is ever cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from improve.display.terminal import Writer
from improve.display.text import count, percent
from improve.errors import DataError
from improve.report.study.cells import Cell, Table


def print_results(folders: Sequence[Path]) -> None:
    """Print what the runs in these folders reached on their test images; nothing where none has begun."""
    from improve.report.study.layout import study_tables
    from improve.report.study.runs import load_runs

    try:
        runs, _ = load_runs([folder for folder in folders if folder.is_dir()])
    except DataError:
        return
    writer = Writer(sys.stdout)
    for table in study_tables(runs):
        for line in result_lines(table):
            writer.line(line)


def result_lines(table: Table) -> Iterator[str]:
    """The table as lines: a heading for each row of it, below it a line for each column."""
    yield ""
    yield f"{table.name or 'results'}: accuracy on the test images, mean ± standard deviation"
    for row in table.rows:
        cells = [cell for cell in table.line(row) if cell.runs]
        width = max((len(cell.column.label) for cell in cells), default=0)
        yield f"  {row.label}"
        yield from (f"    {cell.column.label:<{width}}  {_said(cell)}" for cell in cells)


def _said(cell: Cell) -> str:
    if cell.mean is None:
        reached = "no score"
    else:
        spread = f" ± {100 * cell.std:.1f}" if cell.std is not None else ""
        reached = f"{percent(cell.mean)}{spread} ({count(cell.n, 'run')})"
    first = f", first pipeline {percent(cell.first)}" if cell.first is not None and cell.first != cell.mean else ""
    missing = [f"{cell.count(state)} {state}" for state in ("failed", "unfinished") if cell.count(state)]
    missing += ["unverified"] if cell.unverified else []
    missing += ["selected on the test set"] if cell.paper_protocol else []
    return ", ".join([f"{reached}{first}", *missing])
