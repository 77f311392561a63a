"""The cells of a study's table: what the runs of one place say together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from improve.display.text import llm_name
from improve.report.study.printed import Method, Printed, PrintedTable, dataset_label
from improve.report.study.runs import StudyRun

Settings = tuple[tuple[str, str], ...]


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

    @property
    def name(self) -> str:
        """That of the paper's table, else the study's; "" for runs of none."""
        return self.paper.name if self.paper else self.study

    def line(self, row: Row) -> list[Cell]:
        return [self.cells[row, column] for column in self.columns]

    def all(self) -> list[Cell]:
        return [self.cells[row, column] for row in self.rows for column in self.columns]

    @property
    def filled(self) -> list[Cell]:
        return [cell for cell in self.all() if cell.runs]

    def also(self, row: Row) -> tuple[str, ...]:
        """What else the paper prints in a row, in the order of `paper.also`; "" where it prints nothing."""
        if self.paper is None:
            return ()
        printed = self.paper.row(row.llm, row.dataset)
        return printed.also if printed else ("",) * len(self.paper.also)
