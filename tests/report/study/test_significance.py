"""Whether differences are real: the tests that a table makes, Holm's correction, and what the paper's figures say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_rel

from improve.report.study.layout import study_tables
from improve.report.study.printed import tables
from improve.report.study.runs import load_runs
from improve.report.study.significance import (
    Comparison,
    comparisons,
    holm,
    printed_comparisons,
    printed_verdicts,
    welch,
)
from tests.support.made_study import run, trials

MINE, OTHERS = [0.90, 0.93, 0.96], [0.85, 0.90, 0.92]


def found(folder: Path) -> list[Comparison]:
    (table,) = study_tables(load_runs([folder])[0])
    return comparisons(table)


def test_runs_with_the_same_seeds_are_paired(tmp_path: Path) -> None:
    trials(tmp_path, "table4", MINE)
    trials(tmp_path, "table4", OTHERS, strategy="global")
    (one,) = found(tmp_path)
    assert (one.left, one.right, one.n, one.method) == ("IMPROVE", "no IR", (3, 3), "paired t-test")
    assert one.difference == pytest.approx(0.04)
    assert one.p == pytest.approx(ttest_rel(MINE, OTHERS).pvalue)
    assert one.p == pytest.approx(1 - (48 / 50) ** 0.5)  # t² = 0.04² / (0.01² / 3) = 48 with 2 degrees of freedom
    assert one.holm == one.p


def test_other_seeds_make_it_welchs_test(tmp_path: Path) -> None:
    trials(tmp_path, "own", MINE)
    for seed, accuracy in enumerate([*OTHERS, 0.7], start=5):
        run(tmp_path, "own", accuracy, strategy="zero_shot", seed=seed)
    (one,) = found(tmp_path)
    assert (one.left, one.right, one.n, one.method) == ("iterative", "zero shot", (3, 4), "Welch's test")
    assert one.p == pytest.approx(ttest_ind(MINE, [*OTHERS, 0.7], equal_var=False).pvalue)


def test_a_seed_twice_is_no_pair(tmp_path: Path) -> None:
    trials(tmp_path, "own", MINE)
    trials(tmp_path, "own", OTHERS, strategy="global")
    for strategy in ("iterative", "global"):
        run(tmp_path, "own", 0.9, strategy=strategy)
    (one,) = found(tmp_path)
    assert (one.n, one.method) == ((4, 4), "Welch's test")


def test_few_runs_or_no_spread_give_no_p(tmp_path: Path) -> None:
    trials(tmp_path, "own", [0.5, 0.6, None])
    trials(tmp_path, "own", [0.5, 0.6, 0.7], strategy="global")
    trials(tmp_path, "flat", [0.5, 0.5, 0.5])
    trials(tmp_path, "flat", [0.4, 0.4, 0.4], strategy="global")
    flat, own = (comparisons(table)[0] for table in study_tables(load_runs([tmp_path])[0]))
    assert (own.p, own.why) == (None, "n too small: 2 and 3 runs with a score, 3 each are needed")
    assert (flat.p, flat.holm) == (None, None)
    assert "do not spread" in flat.why
    assert flat.difference == pytest.approx(0.1)


def test_a_table_of_one_column_compares_its_rows(tmp_path: Path) -> None:
    trials(tmp_path, "own", MINE, llm="a")
    trials(tmp_path, "own", OTHERS, llm="b")
    trials(tmp_path, "own", OTHERS, llm="b", dataset="another")
    (one,) = found(tmp_path)
    assert (one.where, one.left, one.right) == ("shapes", "shapes, a", "shapes, b")


def test_holm_corrects_for_all_comparisons_of_a_table(tmp_path: Path) -> None:
    for number, llm in enumerate(("a", "b", "c")):
        trials(tmp_path, "table4", MINE, llm=llm)
        trials(tmp_path, "table4", [value - 0.02 * number for value in OTHERS], llm=llm, strategy="global")
    trials(tmp_path, "table4", [0.5], llm="d")
    trials(tmp_path, "table4", [0.4], llm="d", strategy="global")
    tested = [one for one in found(tmp_path) if one.p is not None]
    assert len(tested) == 3
    assert [one.holm for one in tested] == holm([one.p or 0 for one in tested])
    assert min(one.holm or 0 for one in tested) == pytest.approx(3 * min(one.p or 0 for one in tested))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_helps_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, corrected, strict=True))
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [after for _, after in pairs] == sorted(corrected)


def test_welch_from_moments_is_welch_from_values() -> None:
    moments = [(0.93, 0.03, 3), (0.89, 0.036055513, 3)]
    assert welch(*moments) == pytest.approx(ttest_ind(MINE, OTHERS, equal_var=False).pvalue, rel=1e-6)
    assert welch((0.5, 0.0, 3), (0.4, 0.0, 3)) is None


def test_the_papers_table_4_shows_iterative_refinement_significant_in_no_row() -> None:
    ir = [one for one in printed_comparisons(tables()["table4"]) if one.right == "no IR"]
    assert [(one.where, round(one.p, 2)) for one in ir] == [
        ("CIFAR-10, o1", 0.36), ("TinyImageNet, o1", 0.08), ("CIFAR-10, gpt-4o", 0.95), ("TinyImageNet, gpt-4o", 0.27),
    ]  # fmt: skip
    first, second = printed_verdicts(tables()["table4"])
    assert "IMPROVE differs from no IR at the level 0.05 in none of its 4 rows" in first
    assert "IMPROVE differs from Zero-shot at the level 0.05 in 3 of its 4 rows (1 after Holm's" in second
