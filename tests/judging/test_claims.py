"""What a run claims: intervals that hold as often as they say, and no claim where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.judging.claims import Step, gain, gain_on_images, gains_by_component
from improve.judging.evidence import Prior, Shown, Tally, luck, shown
from tests.support.luck import trainings

PRIOR = Prior(churn=0.5, seed=0.04, freedom=5, weight=4)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 200))
def test_images_alone_wins_against_losses(wins: int, losses: int, same: int) -> None:
    ours = np.array([1] * wins + [0] * losses + [1] * same, bool)
    theirs = np.array([0] * wins + [1] * losses + [1] * same, bool)
    one, other = gain_on_images(np.array([ours, theirs])), gain_on_images(np.array([theirs, ours]))
    assert one.effect == pytest.approx((wins - losses) / (wins + losses + same))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)
    assert 0 < one.p_value <= 1
    assert one.low < one.effect < one.high or abs(one.effect) == 1 or not wins + losses
    assert not one.covers_training


def test_what_two_overlapping_intervals_hid_is_seen() -> None:
    """102 against 71 images of 2,000 and 61 against 30 of 341: the two accuracies' own intervals overlap."""
    for wins, losses, images, p_value in ((102, 71, 2000, 0.022), (61, 30, 341, 0.0015)):
        ours = np.arange(images) < wins + 100
        theirs = (np.arange(images) >= wins) & (np.arange(images) < wins + 100 + losses)
        found = gain_on_images(np.array([ours, theirs]))
        assert found.p_value == pytest.approx(p_value, rel=0.05)
        assert found.sure


def test_the_gain_of_one_component_is_that_of_its_steps() -> None:
    right, (a, b, c) = trainings([0.5, 0.6, 0.7], [2, 2, 3])
    tally = Tally.of(right)
    known = luck(Shown(), tally.images, PRIOR)
    whole = gain(tally, c, a, known)
    one = gains_by_component(tally, [Step("data", b, a), Step("data", c, b)], 2, known)
    assert list(one) == ["data"]
    assert (one["data"].effect, one["data"].low, one["data"].high) == pytest.approx(
        (whole.effect, whole.low, whole.high)
    )
    two = gains_by_component(tally, [Step("data", b, a), Step("model", c, b)], 8, known)
    assert sum(found.effect for found in two.values()) == pytest.approx(whole.effect)
    assert all(found.confidence == pytest.approx(1 - 0.05 * 2 / 8) for found in two.values())
    assert gains_by_component(tally, [], 8, known) == {}


@pytest.mark.slow
def test_claims_cover_the_mean_over_fresh_seeds_and_images() -> None:
    held, sure = 0, 0
    for number in range(500):
        right, (first, best) = trainings([0.66, 0.7], [1, 3], 500, number, luck=0.1)
        tally = Tally.of(right)
        found = gain(tally, best, first, luck(shown(tally, best), 500, PRIOR))
        held += found.low <= 0.04 <= found.high
        sure += found.sure
    assert held / 500 >= 0.93
    assert 0 < sure < 500
