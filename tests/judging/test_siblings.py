"""Candidates judged together: each by its own race, the best goes on, and their number does not make claims wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import siblings as bank
from benchmarks.worlds import load
from improve.config.schema import AcceptanceConfig
from improve.domain import Failure, Reason, Verdict
from improve.judging.acceptance import Judgement
from improve.judging.rules import configured
from improve.judging.siblings import Ask, leader, race, surpassed
from improve.judging.standings import Entry, Standings

IMAGES = 400
RULES = (AcceptanceConfig("racing", 0.05, share=3.0), AcceptanceConfig("paired", 0.2), AcceptanceConfig("paper"))


class Track:
    """A run's standings; pipeline n is right for a share of the images, with its own luck in each training."""

    def __init__(self, acceptance: AcceptanceConfig, skills: Sequence[float], seed: int) -> None:
        self.skills, self.rng = skills, np.random.default_rng(seed)
        self.hard = self.rng.random(IMAGES)
        self.standings = Standings(configured(acceptance, 1, len(skills) - 1))
        self.standings.replace(self.standings.enter(0, self.right(0)))
        self.laps: list[list[Ask]] = []

    def right(self, number: int) -> np.ndarray:
        return self.hard + self.rng.normal(0, 0.1, IMAGES) < self.skills[number]

    def enter(self) -> list[Entry]:
        return [self.standings.enter(number, self.right(number)) for number in range(1, len(self.skills))]

    def train(self, asks: Sequence[Ask]) -> list[bool | Failure]:
        self.laps.append(list(asks))
        for ask in asks:
            self.standings.add(ask.runner, self.right(ask.runner.iteration), len(ask.runner.rows))
        return [True] * len(asks)


@pytest.mark.parametrize("acceptance", RULES, ids=["racing", "paired", "paper"])
@given(st.lists(st.floats(0.3, 0.9), min_size=2, max_size=5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_best_by_evidence_goes_on_and_no_other(
    acceptance: AcceptanceConfig, skills: list[float], seed: int
) -> None:
    track = Track(acceptance, skills, seed)
    judged = race(track.standings, track.enter(), track.train)
    best = leader(track.standings, judged)
    final = surpassed(judged, best, "candidate 1")
    assert set(final) == set(range(1, len(skills)))
    verdicts = {number: one for number, one in final.items() if isinstance(one, Judgement)}
    assert [number for number, one in verdicts.items() if one.verdict.replaces] == ([] if best is None else [best])
    for number, before in judged.items():
        assert isinstance(before, Judgement)
        passed = verdicts[number].verdict is Verdict.SURPASSED
        assert passed == (before.verdict.replaces and number != best)
        if passed and best is not None:
            assert verdicts[number].note.endswith("; candidate 1 is better still")
            assert (before.p_value or 0) >= (verdicts[best].p_value or 0)
    for lap in track.laps:
        runners = [ask.runner.iteration for ask in lap]
        assert len(set(runners)) == len(runners), "nobody runs twice in a lap"


def test_one_candidate_is_judged_as_without_siblings() -> None:
    for seed in range(30):
        track, alone = (Track(RULES[0], [0.6, 0.62], seed) for _ in range(2))
        judged = race(track.standings, track.enter(), track.train)[1]
        (entry,) = alone.enter()
        while not isinstance(found := alone.standings.judge(entry), Judgement):
            runner = entry if found.value == "candidate" else alone.standings.incumbent
            assert runner is not None
            alone.train([Ask(runner, 1)])
        assert judged == found


def test_a_candidate_that_fails_and_an_incumbent_that_cannot_be_trained_end_races() -> None:
    failure = Failure(Reason.NAN, "the loss is not finite")
    for seed in range(20):
        track = Track(AcceptanceConfig("racing", 0.05, share=50.0), [0.6, 0.61, 0.61, 0.61], seed)
        track.standings._races = 10  # far enough into a run for further trainings

        def train(asks: Sequence[Ask], track: Track = track) -> list[bool | Failure]:
            track.laps.append(list(asks))
            return [failure if ask.own else False for ask in asks]

        judged = race(track.standings, track.enter(), train)
        asked = {ask.race for lap in track.laps for ask in lap if ask.own}
        assert {number for number, one in judged.items() if one is failure} == asked
        assert len(track.laps) <= 2


def test_what_is_called_better_is_corrected_for_the_number_of_candidates() -> None:
    for acceptance in RULES[:2]:
        levels = []
        for candidates in (1, 2, 5):
            rule = configured(acceptance, 8, candidates)
            levels.append(rule.level if acceptance.rule == "racing" else rule.alpha)  # type: ignore[attr-defined]
        assert levels[0] == pytest.approx(2 * levels[1])
        assert levels[0] == pytest.approx(5 * levels[2])


@pytest.mark.parametrize("name", ["dsprites", "fashion"])
def test_runs_that_change_nothing_seldom_call_anything_better(name: str) -> None:
    """Real trainings of the bank; at most 5% of the runs, and 150 of them may have two standard deviations more."""
    world = load(name)
    found = [bank.null_run(world, bank.RULES["racing"], 3, number) for number in range(150)]
    assert sum(run.wrong > 0 for run in found) / len(found) <= 0.05 + 2 * (0.05 * 0.95 / len(found)) ** 0.5
