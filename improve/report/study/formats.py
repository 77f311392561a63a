"""The cells of a study's tables as CSV, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from improve.report.study.cells import Cell, Table

CSV_HEADER = (
    "study", "table", "dataset", "llm", "row_settings", "column", "column_settings", "runs", "n", "mean", "std",
    "failed", "unfinished", "first_mean", "tokens_mean", "usd_mean", "minutes_mean", "tokens_all", "usd_all",
    "minutes_all", "rule_based", "protocol", "verified", "paper_mean", "paper_std", "difference",
)  # fmt: skip


def table_csv(tables: Sequence[Table]) -> str:
    """A line for each cell, accuracies as fractions; what is not known, or does not exist, is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for table in tables:
        writer.writerows(_csv_line(table, cell) for cell in table.all())
    return file.getvalue()


def _csv_line(table: Table, cell: Cell) -> list[object]:
    row, column, printed = cell.row, cell.column, cell.printed
    known = [run.usd for run in cell.runs if run.usd is not None]
    return [
        table.study, table.paper.name if table.paper else "", row.dataset, row.llm, _joined(row.more),
        column.method.name, _joined(column.more), len(cell.runs),
        cell.n, cell.mean, cell.std, cell.count("failed"), cell.count("unfinished"), cell.first, cell.tokens, cell.usd,
        cell.minutes, sum(run.tokens for run in cell.runs), sum(known) if len(known) == len(cell.runs) else None,
        sum(run.minutes for run in cell.runs), row.rule_based, _protocol(cell), _verified(cell),
        printed.mean if printed else None, printed.std if printed else None, cell.difference,
    ]  # fmt: skip


def _joined(settings: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings)


def _protocol(cell: Cell) -> str:
    if not cell.runs:
        return ""
    return "paper" if cell.paper_protocol else "honest"


def _verified(cell: Cell) -> str:
    return str(not cell.unverified) if cell.runs else ""
