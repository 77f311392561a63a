"""Which runs of a study stand in which cell of its table.

A cell holds runs that differ in nothing but their seed. Rows are a dataset and a language model, columns a strategy;
where runs of one such place differ in further settings, those split it: settings of images and models into rows, others
into columns. So nothing is averaged over what differs, and runs of another protocol or without isolation stand alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from improve.report.study.cells import Cell, Column, Row, Settings, Table
from improve.report.study.printed import METHODS, Printed, PrintedTable, llm_label, method_of, tables
from improve.report.study.runs import StudyRun

Key = TypeVar("Key", bound=Hashable)

WHOLE_PAPER = "paper"  # a study whose runs serve all of the paper's tables at once

_OF_ROWS = ("protocol", "verified", "dataset.", "cassette", "llm.")
_FIRST = ("protocol", "verified", "strategy.", "prompts.name", "dataset.", "llm.", "acceptance.", "prompts.hash")


def study_tables(runs: Iterable[StudyRun]) -> list[Table]:
    """A table for each study that the runs name, then one for those that name none.

    The study `WHOLE_PAPER` gives each of the paper's tables that some of its runs belong to, and one for the others.
    """
    groups: dict[str, list[StudyRun]] = {}
    for run in sorted(runs, key=lambda run: (run.study == "", run.study)):
        groups.setdefault(run.study, []).append(run)
    made = []
    for study, own in groups.items():
        if study == WHOLE_PAPER:
            made += _paper_tables(own)
        else:
            made.append(_table(study, tables().get(study), own))
    return made


def _paper_tables(runs: list[StudyRun]) -> list[Table]:
    parts = {name: [run for run in runs if _belongs(run, paper)] for name, paper in tables().items()}
    placed = {id(run) for own in parts.values() for run in own}
    others = [run for run in runs if id(run) not in placed]
    made = [_table(WHOLE_PAPER, tables()[name], own) for name, own in parts.items() if own]
    return [*made, _table(WHOLE_PAPER, None, others)] if others else made


def _belongs(run: StudyRun, paper: PrintedTable) -> bool:
    row = paper.row(llm_label(run.settings), run.settings["dataset.name"])
    return row is not None and method_of(run.settings, as_printed=True) in paper.methods


def _table(study: str, paper: PrintedTable | None, runs: list[StudyRun]) -> Table:
    places = _places(runs, paper)
    rows, columns = _rows(places, paper), _columns(places, paper)
    filled: dict[tuple[Row, Column], list[StudyRun]] = {}
    for run, place in places.items():
        filled.setdefault(place, []).append(runs[run])

    def cell(row: Row, column: Column) -> Cell:
        own = sorted(filled.get((row, column), ()), key=lambda run: (run.seed, run.name, run.started_at))
        return Cell(row, column, tuple(own), _printed(paper, row, column))

    cells = {(row, column): cell(row, column) for row in rows for column in columns}
    return Table(study, paper, rows, columns, cells, tuple(runs))


def _places(runs: Sequence[StudyRun], paper: PrintedTable | None) -> dict[int, tuple[Row, Column]]:
    """The row and the column of each run, by its number."""
    base_rows = [(llm_label(run.settings), run.settings["dataset.name"]) for run in runs]
    methods = [method_of(run.settings, as_printed=paper is not None) for run in runs]
    keys = _splitting(runs, list(zip(base_rows, methods, strict=True)))
    of_rows = [key for key in keys if key.startswith(_OF_ROWS)]
    of_columns = [key for key in keys if not key.startswith(_OF_ROWS)]
    row_keys = _varying(runs, base_rows, of_rows)
    column_keys = _varying(runs, methods, of_columns)
    places = {}
    for number, (run, (llm, dataset), method) in enumerate(zip(runs, base_rows, methods, strict=True)):
        row_more = tuple((key, run.settings.get(key, "")) for key in row_keys[llm, dataset])
        column_more = tuple((key, run.settings.get(key, "")) for key in column_keys[method])
        places[number] = (Row(llm, dataset, row_more, run.rule_based), Column(method, column_more))
    return places


def _splitting(runs: Sequence[StudyRun], bases: Sequence[Hashable]) -> list[str]:
    """The fewest settings, of those that come first, by which runs in one place (`bases`) differ."""

    def rank(key: str) -> tuple[int, str]:
        return next((number for number, start in enumerate(_FIRST) if key.startswith(start)), len(_FIRST)), key

    parts: list[Hashable] = list(bases)
    chosen = []
    for key in sorted({key for run in runs for key in run.settings}, key=rank):
        finer = [(part, run.settings.get(key, "")) for part, run in zip(parts, runs, strict=True)]
        if len(set(finer)) > len(set(parts)):
            chosen.append(key)
            parts = list(finer)
    return chosen


def _varying(runs: Sequence[StudyRun], bases: Sequence[Key], keys: Sequence[str]) -> dict[Key, list[str]]:
    """For each row (or column), the settings by which its runs differ."""
    return {
        base: [
            key
            for key in keys
            if len({run.settings.get(key, "") for run, own in zip(runs, bases, strict=True) if own == base}) > 1
        ]
        for base in bases
    }


def _rows(places: Mapping[int, tuple[Row, Column]], paper: PrintedTable | None) -> tuple[Row, ...]:
    """Those with runs, in the paper's order, then by name; then the paper's rows that no run belongs to."""
    printed = [(row.llm, row.dataset) for row in paper.rows] if paper else []

    def rank(row: Row) -> tuple[int, str, str, Settings]:
        place = (row.llm, row.dataset)
        return printed.index(place) if place in printed else len(printed), row.dataset, row.llm, row.more

    rows = sorted({row for row, _ in places.values()}, key=rank)
    there = {(row.llm, row.dataset) for row in rows}
    return (*rows, *(Row(llm, dataset, (), False) for llm, dataset in printed if (llm, dataset) not in there))


def _columns(places: Mapping[int, tuple[Row, Column]], paper: PrintedTable | None) -> tuple[Column, ...]:
    """The paper's columns in its order, with runs or without, then others."""
    names = [method.name for method in paper.methods] if paper else list(METHODS)

    def rank(column: Column) -> tuple[int, str, Settings]:
        name = column.method.name
        return names.index(name) if name in names else len(names), column.label, column.more

    columns = {column for _, column in places.values()}
    there = {column.method for column in columns}
    missing = [Column(method, ()) for method in (paper.methods if paper else ()) if method not in there]
    return tuple(sorted((*columns, *missing), key=rank))


def _printed(paper: PrintedTable | None, row: Row, column: Column) -> Printed | None:
    line = paper.row(row.llm, row.dataset) if paper else None
    return line.cells.get(column.method.name) if line else None
