"""Whether the differences in a table are real: the tests of its comparisons, Holm's correction, the paper's figures.

A comparison sets the first column's runs against another column's in the same row (in a table of one column: the first
row of a dataset against its other rows). Where both sides have the same seeds, each once, the runs are paired by seed;
else Welch's test. All tests are two-sided. Below `NEEDED` runs a side no p-value is given.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from improve.report.study.cells import Cell, Table
from improve.report.study.printed import Printed, PrintedTable, dataset_label, trials

NEEDED = 3  # runs a side: as many trials as the paper has
LEVEL = 0.05
TINY = 1e-9  # a spread below this is none


@dataclass(frozen=True)
class Comparison:
    """`left` less `right`: the difference of their means, over how many runs, by which test.

    `p` is None where `why` says why there is none; `holm` is `p` corrected for all comparisons of the table.
    """

    where: str
    left: str
    right: str
    n: tuple[int, int]
    difference: float | None
    method: str
    p: float | None
    why: str
    sides: tuple[Cell, Cell]
    holm: float | None = None


def comparisons(table: Table) -> list[Comparison]:
    """The comparisons that a table makes, of cells that have runs, with Holm's correction over those that have a p."""
    found = [_compare(*pair) for pair in _pairs(table) if pair[3].runs and pair[4].runs]
    corrected = iter(holm([one.p for one in found if one.p is not None]))
    return [one if one.p is None else dataclasses.replace(one, holm=next(corrected)) for one in found]


def _pairs(table: Table) -> Iterable[tuple[str, str, str, Cell, Cell]]:
    if len(table.columns) > 1:
        first = table.columns[0].method
        mine = [column for column in table.columns if column.method == first]
        others = [column for column in table.columns if column.method != first]
        if not others:  # one strategy with different settings
            mine, others = mine[:1], mine[1:]
        for row in table.rows:
            for left in mine:
                for right in others:
                    yield row.label, left.label, right.label, table.cells[row, left], table.cells[row, right]
        return
    (column,) = table.columns
    for number, row in enumerate(table.rows):
        first_row = next(one for one in table.rows if one.dataset == row.dataset)
        if first_row != table.rows[number]:
            cells = table.cells[first_row, column], table.cells[row, column]
            yield dataset_label(row.dataset), first_row.label, row.label, *cells


def _compare(where: str, left_name: str, right_name: str, left: Cell, right: Cell) -> Comparison:
    n = (left.n, right.n)
    difference = None if left.mean is None or right.mean is None else left.mean - right.mean
    paired = _paired(left, right)
    method = "paired t-test" if paired else "Welch's test"

    def without(why: str) -> Comparison:
        return Comparison(where, left_name, right_name, n, difference, method, None, why, (left, right))

    if min(n) < NEEDED:
        return without(f"n too small: {n[0]} and {n[1]} runs with a score, {NEEDED} each are needed")
    p = _paired_p(paired) if paired else welch(_moments(left), _moments(right))
    if p is None:
        return without("the runs do not spread, so chance cannot be judged")
    return Comparison(where, left_name, right_name, n, difference, method, p, "", (left, right))


def _moments(cell: Cell) -> tuple[float, float, int]:
    return statistics.fmean(cell.accuracies), statistics.stdev(cell.accuracies), cell.n


def _paired(left: Cell, right: Cell) -> list[float]:
    """The difference of each seed; empty unless both sides have the same seeds, each once."""
    mine, others = ([run.seed for run in cell.scored] for cell in (left, right))  # in order: so are the cell's runs
    if mine != others or len(set(mine)) < len(mine):
        return []
    return [one - other for one, other in zip(left.accuracies, right.accuracies, strict=True)]


def _paired_p(differences: Sequence[float]) -> float | None:
    from scipy.stats import ttest_1samp  # a second's import

    if statistics.stdev(differences) < TINY:
        return None
    return float(ttest_1samp(differences, 0.0).pvalue)


def welch(left: tuple[float, float, int], right: tuple[float, float, int]) -> float | None:
    """The two-sided p-value of Welch's test from mean, standard deviation and n of two samples; None without spread."""
    from scipy.stats import ttest_ind_from_stats  # a second's import

    if max(left[1], right[1]) < TINY:
        return None
    return float(ttest_ind_from_stats(*left, *right, equal_var=False).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: family-wise error over all of these tests; in their order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


@dataclass(frozen=True)
class PrintedComparison:
    """Welch's test on two of the paper's printed cells: means, standard deviations, and its number of trials."""

    where: str
    left: str
    right: str
    difference: float
    p: float
    holm: float


def printed_comparisons(paper: PrintedTable) -> list[PrintedComparison]:
    """The comparisons that the paper's table makes: its first column against each other one, row by row."""
    first, *others = paper.methods
    pairs = [
        (
            f"{dataset_label(row.dataset)}, {row.llm}",
            first.label,
            other.label,
            row.cells[first.name],
            row.cells[other.name],
        )
        for other in others
        for row in paper.rows
    ]
    p_values = [_printed_p(left, right) for *_, left, right in pairs]
    return [
        PrintedComparison(where, mine, other, left.mean - right.mean, p, corrected)
        for (where, mine, other, left, right), p, corrected in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def _printed_p(left: Printed, right: Printed) -> float:
    p = welch((left.mean, left.std, trials()), (right.mean, right.std, trials()))
    assert p is not None, "all of the paper's cells have a spread"
    return p


def printed_verdicts(paper: PrintedTable) -> list[str]:
    """What Welch's test says of the paper's printed figures: a sentence for each column beside its own."""
    said = []
    found = printed_comparisons(paper)
    for method in paper.methods[1:]:
        own = [one for one in found if one.right == method.label]
        sure = sum(one.p < LEVEL for one in own)
        corrected = sum(one.holm < LEVEL for one in own)
        rows = f"{sure or 'none'} of its {len(own)} rows" if len(own) > 1 else ("its row" if sure else "no row")
        said.append(
            f"By Welch's test on the paper's printed means and standard deviations (n = {trials()} trials), "
            f"{paper.methods[0].label} differs from {method.label} at the level {LEVEL:g} in {rows} "
            f"({corrected or 'none'} after Holm's correction for the table's {len(found)} comparisons)."
        )
    return said
