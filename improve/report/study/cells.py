"""The cells of a study's table: which runs stand in which, and what they say together.

A cell holds runs that differ in nothing but their seed. Rows are a dataset and a language model, columns a strategy;
where runs of one such place differ in further settings, those split it: settings of images and models into rows, others
into columns. So nothing is averaged over what differs, and runs of another protocol or without isolation stand alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from improve.display.text import llm_name
from improve.report.study.printed import (
    METHODS,
    Method,
    Printed,
    PrintedTable,
    dataset_label,
    llm_label,
    method_of,
    tables,
)
from improve.report.study.runs import StudyRun

Settings = tuple[tuple[str, str], ...]
Key = TypeVar("Key", bound=Hashable)

_OF_ROWS = ("protocol", "verified", "dataset.", "cassette", "llm.")
_FIRST = ("protocol", "verified", "strategy.", "prompts.name", "dataset.", "llm.", "acceptance.", "prompts.hash")


@dataclass(frozen=True)
class Row:
    """`more` are the settings that tell it from other rows of the same dataset and language model."""

    llm: str
    dataset: str
    more: Settings
    rule_based: bool

    @property
    def model(self) -> str:
        return llm_name(self.llm, self.rule_based)

    @property
    def details(self) -> str:
        return ", ".join(_named(self.more))

    @property
    def label(self) -> str:
        return ", ".join([f"{dataset_label(self.dataset)}, {self.llm}", *_named(self.more)])


@dataclass(frozen=True)
class Column:
    """A strategy, and the settings that tell it from other columns of the same strategy."""

    method: Method
    more: Settings

    @property
    def label(self) -> str:
        return ", ".join([self.method.label, *_named(self.more)])


def _named(settings: Settings) -> list[str]:
    called = {("verified", "false"): "unverified", ("verified", "true"): "verified"}
    return [called.get((key, value), f"{key}={value}") for key, value in settings]


@dataclass(frozen=True)
class Cell:
    """The runs of one place, in order of their seeds, and what the paper prints there."""

    row: Row
    column: Column
    runs: tuple[StudyRun, ...]
    printed: Printed | None

    @property
    def scored(self) -> tuple[StudyRun, ...]:
        return tuple(run for run in self.runs if run.accuracy is not None)

    @property
    def accuracies(self) -> list[float]:
        return [run.accuracy for run in self.runs if run.accuracy is not None]

    @property
    def n(self) -> int:
        return len(self.scored)

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.accuracies) if self.scored else None

    @property
    def std(self) -> float | None:
        """The sample's standard deviation (n - 1 in the denominator); None from fewer than two runs."""
        return statistics.stdev(self.accuracies) if self.n > 1 else None

    @property
    def first(self) -> float | None:
        """Mean test accuracy of the runs' first pipelines; None unless each has one."""
        first = [run.first for run in self.scored if run.first is not None]
        return statistics.fmean(first) if first and len(first) == self.n else None

    def count(self, state: str) -> int:
        return sum(run.state == state for run in self.runs)

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.mean is None or self.printed is None else self.mean - self.printed.mean

    def mean_of(self, value: Callable[[StudyRun], float | None]) -> float | None:
        """The mean over the runs with a score; None if there are none or one of them has no such value."""
        values = [value(run) for run in self.scored]
        known = [one for one in values if one is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None

    @property
    def tokens(self) -> float | None:
        return self.mean_of(lambda run: run.tokens)

    @property
    def usd(self) -> float | None:
        """Mean cost of the runs with a score; None where a price is not known."""
        return self.mean_of(lambda run: run.usd)

    @property
    def minutes(self) -> float | None:
        return self.mean_of(lambda run: run.minutes)

    @property
    def kinds(self) -> list[str]:
        """The kinds of test images (corruptions) that the runs' test images are of, if any."""
        return sorted({name for run in self.scored for name in run.strata})

    def by_kind(self, name: str) -> list[float]:
        """The runs' accuracies on the test images of a kind."""
        counts = [run.strata[name] for run in self.scored if name in run.strata]
        return [correct / total for correct, total in counts if total]

    @property
    def paper_protocol(self) -> bool:
        return any(run.paper_protocol for run in self.runs)

    @property
    def unverified(self) -> bool:
        return any(not run.verified for run in self.runs)


@dataclass(frozen=True)
class Table:
    """A study's table, with a cell for each row and column; `paper` is the table that it rebuilds, if any."""

    study: str
    paper: PrintedTable | None
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[Row, Column], Cell]
    runs: tuple[StudyRun, ...]

    def line(self, row: Row) -> list[Cell]:
        return [self.cells[row, column] for column in self.columns]

    def all(self) -> list[Cell]:
        return [self.cells[row, column] for row in self.rows for column in self.columns]

    @property
    def filled(self) -> list[Cell]:
        return [cell for cell in self.all() if cell.runs]

    def also(self, row: Row) -> tuple[str, ...]:
        """What else the paper prints in a row, in the order of `paper.also`."""
        printed = self.paper.row(row.llm, row.dataset) if self.paper else None
        return printed.also if printed else ()


def study_tables(runs: Iterable[StudyRun]) -> list[Table]:
    """A table for each study that the runs name, and one for those that name none."""
    groups: dict[str, list[StudyRun]] = {}
    for run in sorted(runs, key=lambda run: (run.study == "", run.study)):
        groups.setdefault(run.study, []).append(run)
    return [_table(study, own) for study, own in groups.items()]


def _table(study: str, runs: list[StudyRun]) -> Table:
    paper = tables().get(study)
    places = _places(runs, paper)
    rows, columns = _rows(places, paper), _columns(places, paper)
    filled: dict[tuple[Row, Column], list[StudyRun]] = {}
    for run, place in places.items():
        filled.setdefault(place, []).append(runs[run])
    return Table(
        study=study,
        paper=paper,
        rows=rows,
        columns=columns,
        cells={
            (row, column): Cell(
                row,
                column,
                tuple(sorted(filled.get((row, column), ()), key=lambda run: (run.seed, run.name, run.started_at))),
                _printed(paper, row, column),
            )
            for row in rows
            for column in columns
        },
        runs=tuple(runs),
    )


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
