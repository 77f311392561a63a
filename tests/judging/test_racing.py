"""The race over training seeds: what it asks for, when it stops, and that it is seldom wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.domain import Verdict
from improve.judging.acceptance import Further, Judgement, Race
from improve.judging.evidence import Shown, Tally, shown
from improve.judging.racing import Racing
from tests.support.luck import trainings

RULE = Racing(alpha=0.05, comparisons=8)


def race(skills: tuple[float, float], seed: int, rule: Racing = RULE, races: int = 100, images: int = 600) -> Race:
    """A whole race, as it stands when the rule has decided."""
    right, (ours, theirs) = trainings(skills, (30, 30), images, seed)
    tally, now = Tally.of(right), Race(Tally.of(right[:1]), [0], [0])
    used = [1, 1]
    while True:
        now = Race(tally, ours[: used[0]], theirs[: used[1]], races=races, further=sum(used) - 2)
        asked = rule.judge(now)
        if isinstance(asked, Judgement):
            return now
        used[0 if asked is Further.CANDIDATE else 1] += 1


@given(st.integers(0, 10_000), st.floats(0.5, 0.9), st.floats(-0.1, 0.1))
def test_every_race_ends_within_its_trainings(seed: int, skill: float, gain: float) -> None:
    end = race((skill + gain, skill), seed)
    assert len(end.candidate) <= RULE.trainings
    assert abs(len(end.candidate) - len(end.incumbent)) <= 1
    judgement = RULE.judge(end)
    assert isinstance(judgement, Judgement)
    assert judgement.trainings == (len(end.candidate), len(end.incumbent))
    assert judgement.effect is not None
    assert judgement.low is not None
    assert judgement.high is not None
    assert judgement.low <= judgement.effect <= judgement.high
    assert judgement.verdict.replaces == (judgement.effect > 0)
    assert judgement.note.startswith(judgement.verdict.value)
    assert "\n" not in judgement.note
    if judgement.verdict is Verdict.ACCEPTED:
        assert judgement.low > 0
        assert judgement.p_value is not None
        assert judgement.p_value <= RULE.level


def test_what_is_clearly_worse_or_better_is_decided_by_one_training() -> None:
    for skills, verdict in (((0.4, 0.7), Verdict.REJECTED), ((0.8, 0.5), Verdict.ACCEPTED)):
        end = race(skills, seed=1)
        judgement = RULE.judge(end)
        assert isinstance(judgement, Judgement)
        assert judgement.verdict is verdict
        assert judgement.trainings == (1, 1)


def test_further_trainings_are_a_share_of_the_races() -> None:
    close = [s for s in range(40) if RULE.judge(_first(s)) is Further.CANDIDATE]
    assert close, "some of 40 equal pairs are close"
    now = _first(close[0])
    for races, further in ((1, 0), (8, 0), (15, 3)):
        assert isinstance(RULE.judge(Race(now.tally, [0], [1], Shown(), races, further)), Judgement)
    assert RULE.judge(Race(now.tally, [0], [1], Shown(), 15, 2)) is Further.CANDIDATE
    assert isinstance(RULE.judge(Race(now.tally, [0], [1], Shown(), 15, 2, final=True)), Judgement)


def _first(seed: int) -> Race:
    right, _ = trainings((0.7, 0.7), (1, 1), seed=seed)
    return Race(Tally.of(right), [0], [1], races=15)


def test_a_candidate_that_answers_alike_is_no_better() -> None:
    right = np.ones((2, 50), bool)
    right[:, :20] = False
    judgement = Racing(0.05, 8, share=0).judge(Race(Tally.of(right), [0], [1]))
    assert isinstance(judgement, Judgement)
    assert judgement.verdict is Verdict.REJECTED


@pytest.mark.parametrize("luck", [0.02, 0.08])
def test_runs_in_which_nothing_is_better_seldom_call_anything_better(luck: float) -> None:
    called = 0
    for number in range(200):
        right, (pool,) = trainings([0.7], [40], 500, number, luck)
        tally, others, incumbent, at = Tally.of(right), Shown(), [0], 1
        wrong, further = False, 0
        for races in range(1, 9):
            candidate, at = [pool[at]], at + 1
            while isinstance(asked := RULE.judge(Race(tally, candidate, incumbent, others, races, further)), Further):
                (candidate if asked is Further.CANDIDATE else incumbent).append(pool[at])
                at, further = at + 1, further + 1
            wrong |= asked.verdict is Verdict.ACCEPTED
            left, incumbent = (incumbent, candidate) if asked.verdict.replaces else (candidate, incumbent)
            others += shown(tally, left)
        called += wrong
    assert called / 200 <= 0.05
