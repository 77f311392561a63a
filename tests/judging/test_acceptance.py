"""The verdict rules: exact, monotone, and never in favour of something that did not work."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.config.schema import AcceptanceConfig
from improve.domain import Verdict
from improve.judging.acceptance import Judgement, Paired, Paper, Race, Rule, mcnemar, without_comparison
from improve.judging.evidence import Tally
from improve.judging.racing import Racing
from improve.judging.rules import configured

COUNTS = st.integers(0, 60)
ALPHAS = st.floats(0.001, 0.6)


def compare(rule: Rule, wins: int, losses: int, both: int = 5, neither: int = 5) -> Judgement:
    """Judge answers in which exactly so many images are won, lost, right twice and wrong twice."""
    right = np.array([1] * wins + [0] * losses + [1] * both + [0] * neither, bool)
    was_right = np.array([0] * wins + [1] * losses + [1] * both + [0] * neither, bool)
    judgement = rule.judge(Race(Tally.of(np.array([right, was_right])), [0], [1]))
    assert isinstance(judgement, Judgement)
    return judgement


@pytest.mark.parametrize(("wins", "losses"), list(itertools.product(range(8), range(8))))
def test_mcnemar_against_every_outcome_of_fair_coins(wins: int, losses: int) -> None:
    tosses = list(itertools.product((0, 1), repeat=wins + losses))
    assert mcnemar(wins, losses) == pytest.approx(sum(sum(toss) >= wins for toss in tosses) / len(tosses), abs=1e-12)


@given(COUNTS, COUNTS)
def test_mcnemar_is_symmetric(wins: int, losses: int) -> None:
    """P(at least w wins) and P(at least l losses) overlap in exactly one outcome."""
    at_most = 1 - mcnemar(wins + 1, losses - 1) if losses else 1.0
    assert mcnemar(losses, wins) == pytest.approx(at_most, abs=1e-9)


@given(st.integers(0, 15), st.integers(1, 15))
def test_evidence_grows_with_wins_and_shrinks_with_losses(wins: int, losses: int) -> None:
    assert mcnemar(wins + 1, losses) < mcnemar(wins, losses)
    assert mcnemar(wins + 1, losses - 1) < mcnemar(wins, losses)


@given(COUNTS, COUNTS, ALPHAS)
def test_a_win_more_never_loses_the_verdict(wins: int, losses: int, alpha: float) -> None:
    order = [Verdict.REJECTED, Verdict.WITHIN_NOISE, Verdict.ACCEPTED]
    ranks = [order.index(compare(Paired(alpha), wins + more, losses).verdict) for more in range(3)]
    assert ranks == sorted(ranks)


@given(COUNTS, COUNTS, ALPHAS)
def test_verdicts_follow_accuracy_and_evidence(wins: int, losses: int, alpha: float) -> None:
    paired, paper = compare(Paired(alpha), wins, losses), compare(Paper(), wins, losses)
    assert (paired.wins, paired.losses) == (wins, losses)
    assert paired.p_value == paper.p_value == mcnemar(wins, losses)
    assert (paper.verdict is Verdict.ACCEPTED) == (wins > losses)
    assert (paired.verdict is Verdict.REJECTED) == (wins <= losses)
    assert (paired.verdict is Verdict.ACCEPTED) == (wins > losses and mcnemar(wins, losses) <= alpha)
    for judgement in (paired, paper):
        assert judgement.note.startswith(judgement.verdict.value)
        assert "\n" not in judgement.note


@given(COUNTS, COUNTS, ALPHAS)
def test_two_pipelines_cannot_each_beat_the_other(wins: int, losses: int, alpha: float) -> None:
    verdicts = [compare(Paired(alpha), *pair).verdict for pair in ((wins, losses), (losses, wins))]
    assert verdicts.count(Verdict.ACCEPTED) <= 1


@given(COUNTS, COUNTS, st.integers(1, 30), st.integers(0, 30))
def test_images_on_which_both_agree_carry_no_evidence(wins: int, losses: int, both: int, neither: int) -> None:
    assert compare(Paired(0.2), wins, losses, both, neither) == compare(Paired(0.2), wins, losses)


def test_a_crash_never_outranks_anything_and_any_score_outranks_none() -> None:
    assert without_comparison(has_score=False).verdict is Verdict.FAILED
    assert without_comparison(has_score=True).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("rule", [Paired(0.2), Paper()])
def test_an_equal_candidate_is_rejected(rule: Rule) -> None:
    judgement = compare(rule, 0, 0)
    assert (judgement.verdict, judgement.wins, judgement.losses, judgement.p_value) == (Verdict.REJECTED, 0, 0, 1.0)


def test_paired_and_paper_look_at_the_first_training_of_each_alone() -> None:
    right = np.random.default_rng(0).random((5, 50)) > 0.4
    whole = Race(Tally.of(right), [0, 1, 2], [3, 4])
    for rule in (Paired(0.2), Paper()):
        assert rule.judge(whole) == rule.judge(Race(Tally.of(right), [0], [3]))


def test_a_configuration_names_its_rule() -> None:
    assert configured(AcceptanceConfig("paper"), 8) == Paper()
    assert configured(AcceptanceConfig("paired", 0.3), 8) == Paired(0.3)
    assert configured(AcceptanceConfig("racing", 0.1, 4, 0.5), 8) == Racing(0.1, 8, 4, 0.5)
    with pytest.raises(ValueError, match="unknown"):
        configured(AcceptanceConfig("best"), 8)


def test_paired_accepts_clear_gains_and_refuses_noise() -> None:
    assert compare(Paired(0.2), 150, 100).verdict is Verdict.ACCEPTED
    assert compare(Paired(0.2), 102, 100).verdict is Verdict.WITHIN_NOISE
