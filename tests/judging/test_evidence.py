"""What trainings say of a difference: exact where it can be counted, calibrated where luck is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from improve.judging.evidence import Luck, Part, Prior, Shown, Tally, contrast, difference, luck, shown
from tests.support.luck import trainings

RIGHT = arrays(bool, st.tuples(st.integers(2, 6), st.integers(1, 40)))
PRIOR = Prior(churn=0.5, seed=0.03, freedom=3, weight=5)


@given(RIGHT)
def test_a_tally_counts_what_the_answers_show(right: np.ndarray) -> None:
    tally = Tally.of(right)
    rows = range(len(right))
    assert tally.accuracies(rows) == pytest.approx(right.mean(axis=1))
    assert tally.won([0], [1]) == (right[0] & ~right[1]).sum()
    pairs = [(right[a] != right[b]).mean() for a in rows for b in rows if a < b]
    assert tally.churn(list(rows)) == pytest.approx(np.mean(pairs))
    mean = right[1:].mean(axis=0) - right[0]
    assert tally.spread([Part(1, list(rows)[1:]), Part(-1, [0])]) == pytest.approx(mean.var(), abs=1e-9)


def test_a_tally_needs_images() -> None:
    for wrong in (np.zeros((2, 0), bool), np.zeros(3, bool)):
        with pytest.raises(ValueError, match="trainings × images"):
            Tally.of(wrong)


@given(RIGHT)
def test_what_is_shown_adds_up_and_one_training_shows_nothing(right: np.ndarray) -> None:
    tally = Tally.of(right)
    assert shown(tally, [0]) == Shown()
    both = shown(tally, [0, 1])
    assert (both + Shown()) == both
    assert (both + both).freedom == 2 * both.freedom == 2


@given(RIGHT, st.integers(1, 5))
def test_a_difference_has_its_sign_turned_with_its_sides(right: np.ndarray, split: int) -> None:
    tally, known = Tally.of(right), Luck(0.01, 0.5, 8.0)
    rows = list(range(len(right)))
    ours, theirs = rows[: min(split, len(rows) - 1)], rows[min(split, len(rows) - 1) :]
    one, other = difference(tally, ours, theirs, known), difference(tally, theirs, ours, known)
    assert one.effect == pytest.approx(-other.effect, abs=1e-12)
    assert one.error == pytest.approx(other.error)
    assert one.above() + other.above() == pytest.approx(1, abs=1e-9)
    low, high = one.interval()
    assert low <= one.effect <= high
    wide = one.interval(0.99)
    assert wide[0] <= low
    assert high <= wide[1]


def test_more_trainings_tell_more_but_never_more_than_the_images_do() -> None:
    right, (ours, theirs) = trainings([0.7, 0.7], [40, 40], images=2000)
    tally, known = Tally.of(right), Luck(0.001, 0.6, 1e9)
    errors = [difference(tally, ours[:count], theirs[:count], known).error for count in (1, 2, 5, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    many = right[ours].mean(axis=0) - right[theirs].mean(axis=0)
    churn = 2 * known.churn * 0.21 / 40
    assert errors[-1] > max(0.0, many.var() - churn) ** 0.5 / 2000**0.5 * 0.99


def test_steps_in_a_row_are_one_step() -> None:
    """(c − b) + (b − a) = c − a: what lies between drops out, its luck included."""
    right, (a, b, c) = trainings([0.6, 0.65, 0.7], [2, 3, 4])
    tally, known = Tally.of(right), Luck(0.001, 0.6, 12.0)
    chained = contrast(tally, [Part(1, c), Part(0, b), Part(-1, a)], known)
    direct = difference(tally, c, a, known)
    assert (chained.effect, chained.error) == pytest.approx((direct.effect, direct.error))


def test_luck_is_learnt_from_trainings_and_weighed_against_what_was_assumed() -> None:
    right, rows = trainings([0.7] * 12, [6] * 12, images=1000, luck=0.2)
    tally = Tally.of(right)
    seen = sum((shown(tally, own) for own in rows), Shown())
    assumed, known = luck(Shown(), 1000, PRIOR), luck(seen, 1000, PRIOR)
    assert assumed.variance == pytest.approx(0.5 / 1000 + 0.03**2)
    assert assumed.freedom == known.freedom == 3
    true = np.mean([tally.accuracies(own).var(ddof=1) / 0.21 for own in rows])
    assert known.variance == pytest.approx((60 * true + 5 * assumed.variance) / 65, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(1, 1), (1, 4), (3, 3), (2, 8)])
@pytest.mark.parametrize("luck_", [0.03, 0.1])
def test_intervals_cover_the_difference_over_seeds_and_images(counts: tuple[int, int], luck_: float) -> None:
    """Fresh images and fresh seeds each time; the luck is known from 30 other trainings."""
    held = 0
    for number in range(400):
        right, (ours, theirs) = trainings([0.7, 0.67], counts, 400, number, luck_)
        extra, rows = trainings([0.68] * 6, [5] * 6, 400, 10_000 + number, luck_)
        seen = sum((shown(Tally.of(extra), own) for own in rows), Shown())
        low, high = difference(Tally.of(right), ours, theirs, luck(seen, 400, PRIOR)).interval()
        held += low <= 0.03 <= high
    assert held / 400 > 0.92


def test_a_pipeline_of_wild_luck_is_not_taken_for_one_of_the_usual() -> None:
    expected = Luck(0.001, 0.5, 3.0)
    assert expected.of(Shown()) == (0.001, 3.0)
    variance, freedom = expected.of(Shown(squares=0.05, freedom=5, churn=1.0))
    assert (variance, freedom) == pytest.approx(((3 * 0.001 + 0.05) / 8, 8))
