"""A study's table in words: what stands in each cell, and the smaller tables below it. The same in every format."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from improve.display.text import count, money, p_value, short_count, time_taken
from improve.record.history import PAPER_PROTOCOL
from improve.report.study.cells import Cell, Row, Table
from improve.report.study.leaderboard import CAUTION, Leaderboard
from improve.report.study.printed import dataset_label
from improve.report.study.significance import (
    LEVEL,
    comparisons,
    printed_comparisons,
    printed_verdicts,
)

NO_RUN = "no run"
NONE = "—"
MARKS = {
    "†": f"{PAPER_PROTOCOL}: the test images also chose the pipelines, so the score is optimistic",
    "‡": "unverified: generated code ran without isolation (tier T0) and could have made its score up",
    "↺": "replayed from a cassette: no model was asked, tokens are those recorded",
}


@dataclass(frozen=True)
class Shown:
    """A cell. `value` is empty where no run belongs to it; then `runs` says so."""

    value: str
    marks: str
    runs: str
    printed: str
    difference: str
    cost: str

    @property
    def below(self) -> tuple[str, str, str]:
        """What stands below the value in print."""
        return self.runs if self.value else "", self.printed, self.difference

    @property
    def line(self) -> str:
        """All but the cost, in a line."""
        paper = f"paper {self.printed}" + (f", {self.difference}" if self.difference else "") if self.printed else ""
        return "; ".join(filter(None, (f"{self.value}{self.marks} ({self.runs})" if self.value else self.runs, paper)))


@dataclass(frozen=True)
class Grid:
    """A small table below the main one. `name` is its anchor; cells of the columns `numbers` are aligned right."""

    name: str
    title: str
    words: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]


def spread(mean: float, std: float | None) -> str:
    """As the paper prints it: "0.9825 ± 0.0018"; the mean alone where there is no spread to give."""
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def fine_points(difference: float) -> str:
    """0.00251 → "+0.25 pp": percentage points, as fine as the paper's four decimals."""
    return f"{100 * difference:+.2f} pp"


def shown(cell: Cell) -> Shown:
    """A cell in words."""
    others = [f"{cell.count(state)} {state}" for state in ("failed", "unfinished") if cell.count(state)]
    value = ""
    if cell.mean is not None:
        value = spread(cell.mean, cell.std)
    elif cell.runs:
        value = "no score"
    return Shown(
        value=value,
        marks=marks(cell),
        runs=", ".join([f"n = {cell.n}", *others]) if cell.runs else NO_RUN,
        printed=cell.printed.text() if cell.printed else "",
        difference="" if cell.difference is None else fine_points(cell.difference),
        cost=" · ".join(_costs(cell)) if cell.scored else "",
    )


def marks(cell: Cell) -> str:
    """The signs of `MARKS` that a cell's numbers carry."""
    replayed = any(run.replayed for run in cell.runs)
    applies = {"†": cell.paper_protocol, "‡": cell.unverified, "↺": replayed}
    return "".join(mark for mark, applied in applies.items() if applied)


def _costs(cell: Cell) -> tuple[str, str, str]:
    assert cell.tokens is not None
    assert cell.minutes is not None
    paid = money(cell.usd, cell.row.rule_based)
    return f"{short_count(round(cell.tokens))} tokens", paid, time_taken(60 * cell.minutes)


def legend(table: Table) -> list[str]:
    """What the signs in a table mean, as far as they occur."""
    used = {mark for cell in table.filled for mark in marks(cell)}
    said = [f"{mark} {words}." for mark, words in MARKS.items() if mark in used]
    said.append(
        "Each cell: test accuracy of the best pipeline, mean ± standard deviation (n - 1 in the denominator) over the "
        "n runs that have a score; runs that failed or did not finish are counted beside it and are part of no mean."
    )
    if table.paper:
        said.append(f"“paper”: what the paper prints ({table.paper.source}), then how far ours lies above it.")
    return said


def grids(table: Table, boards: Mapping[str, Leaderboard]) -> list[Grid]:
    """The smaller tables, as far as there is something to say."""
    made = [_comparisons(table), _printed(table), _costs_grid(table), _robustness(table), _ranks(table, boards)]
    return [grid for grid in made if grid is not None]


def _comparisons(table: Table) -> Grid | None:
    found = comparisons(table)
    if not found:
        return None
    tested = sum(one.p is not None for one in found)
    words: tuple[str, ...] = (
        "Two-sided tests over the runs: paired by seed where both sides have the same seeds, else Welch's.",
    )
    if tested:
        words += (
            f"“Holm” is p corrected for the {count(tested, 'test')} of this table; below {LEVEL:g} a difference is "
            "more than chance explains well.",
        )
    rows = tuple(
        (
            one.where,
            f"{one.left} − {one.right}",
            f"{one.n[0]} / {one.n[1]}",
            NONE if one.difference is None else fine_points(one.difference) + _both(one.sides),
            *((one.method, p_value(one.p), p_value(one.holm)) if one.p is not None and one.holm is not None
              else (one.why, NONE, NONE)),
        )
        for one in found
    )  # fmt: skip
    header = ("Row", "Comparison", "n", "Difference", "Test", "p", "Holm")
    return Grid("differences", "Are the differences real?", words, header, rows, (2, 3, 5, 6))


def _both(sides: tuple[Cell, Cell]) -> str:
    return "".join(mark for mark in MARKS if any(mark in marks(cell) for cell in sides))


def _printed(table: Table) -> Grid | None:
    if table.paper is None:
        return None
    rows = tuple(
        (one.where, f"{one.left} − {one.right}", fine_points(one.difference), p_value(one.p), p_value(one.holm))
        for one in printed_comparisons(table.paper)
    )
    words = (
        *printed_verdicts(table.paper),
        "The paper does not say whether its standard deviations are of the sample (n - 1), as is taken here; were they "
        "not, every p would be larger.",
    )
    header = ("Row", "Comparison", "Difference", "Welch's p", "Holm")
    return Grid("printed", "What the paper's own figures say", words, header, rows, (2, 3, 4))


def _costs_grid(table: Table) -> Grid | None:
    rows = []
    for cell in table.filled:
        costs = _costs(cell) if cell.scored else (NONE, NONE, NONE)
        first = NONE if cell.first is None else f"{cell.first:.4f}{marks(cell)}"
        counts = (str(cell.n), str(cell.count("failed")), str(cell.count("unfinished")))
        rows.append((cell.row.label, cell.column.label, *counts, first, *costs))
    words = (
        "Means over the runs with a score. “First” is the test accuracy of the first pipeline, before anything was "
        "refined; minutes are of the whole run.",
    )
    header = ("Row", "Column", "Scored", "Failed", "Unfinished", "First", "Tokens", "Money", "Time")
    return Grid("costs", "What it cost", words, header, tuple(rows), (2, 3, 4, 5, 6, 7, 8))


def _robustness(table: Table) -> Grid | None:
    """Accuracy by corruption, where the test images have kinds."""
    cells = [cell for cell in table.filled if cell.kinds]
    if not cells:
        return None
    names = sorted({name for cell in cells for name in cell.kinds})
    rows = [(name.replace("_", " "), *(_by_kind(cell, name) for cell in cells)) for name in names]
    words = ("Test accuracy by the corruption that an image got: mean ± standard deviation over the runs.",)
    header = ("Corruption", *(f"{cell.row.label}: {cell.column.label}{marks(cell)}" for cell in cells))
    return Grid("robustness", "Robustness", words, header, tuple(rows), tuple(range(1, len(header))))


def _by_kind(cell: Cell, name: str) -> str:
    values = [run.strata[name][0] / run.strata[name][1] for run in cell.runs if run.strata.get(name, (0, 0))[1]]
    if not values:
        return NONE
    return (
        f"{spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)} (n = {len(values)})"
    )


def _ranks(table: Table, boards: Mapping[str, Leaderboard]) -> Grid | None:
    rows = [row for cell in table.filled if cell.scored for row in _rank(cell, table, boards)]
    if not rows:
        return None
    header = ("Row", "Column", "Accuracy", "Rank of the mean", "Ranks of the runs", "Leaderboard", "Paper's rank")
    return Grid("ranks", "Leaderboard", (CAUTION,), header, tuple(rows), (2, 3, 4, 6))


def _rank(cell: Cell, table: Table, boards: Mapping[str, Leaderboard]) -> list[tuple[str, ...]]:
    board = boards.get(cell.row.dataset)
    if board is None or cell.mean is None:
        return []
    ranks = sorted(board.rank(accuracy) for accuracy in cell.accuracies)
    each = str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"
    value = spread(cell.mean, cell.std) + marks(cell)
    printed = _printed_rank(cell.row, table) if cell.column.method.name == "improve" else ""
    return [(cell.row.label, cell.column.label, value, board.place(cell.mean), each, board.file, printed or NONE)]


def _printed_rank(row: Row, table: Table) -> str:
    named = dict(zip(table.paper.also, table.also(row), strict=False)) if table.paper else {}
    return named.get("Rank", "")


def labels(row: Row) -> tuple[str, str]:
    """The two cells that a row begins with: its dataset, and its language model with what else tells it apart."""
    return dataset_label(row.dataset), ", ".join(filter(None, (row.model, row.details)))
