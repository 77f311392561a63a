"""The verdict rules: exact, monotone, and never in favour of something that did not work."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.config.schema import AcceptanceConfig
from improve.domain import Verdict
from improve.judging.acceptance import Judgement, judge, mcnemar
from improve.judging.scoring import NO_ANSWER

COUNTS = st.integers(0, 60)
ALPHAS = st.floats(0.001, 0.6)


def compare(rule: str, wins: int, losses: int, both: int = 5, neither: int = 5, alpha: float = 0.2) -> Judgement:
    """Judge answers in which exactly so many images are won, lost, right twice and wrong twice."""
    labels = np.zeros(wins + losses + both + neither, dtype=np.int64)
    right = np.array([1] * wins + [0] * losses + [1] * both + [0] * neither)
    was_right = np.array([0] * wins + [1] * losses + [1] * both + [0] * neither)
    return judge(rule, np.where(right, 0, 3), np.where(was_right, 0, NO_ANSWER), labels, alpha)


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
    ranks = [order.index(compare("paired", wins + more, losses, alpha=alpha).verdict) for more in range(3)]
    assert ranks == sorted(ranks)


@given(COUNTS, COUNTS, ALPHAS)
def test_verdicts_follow_accuracy_and_evidence(wins: int, losses: int, alpha: float) -> None:
    paired, paper = compare("paired", wins, losses, alpha=alpha), compare("paper", wins, losses, alpha=alpha)
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
    verdicts = [compare("paired", *pair, alpha=alpha).verdict for pair in ((wins, losses), (losses, wins))]
    assert verdicts.count(Verdict.ACCEPTED) <= 1


@given(COUNTS, COUNTS, st.integers(0, 30), st.integers(0, 30))
def test_images_on_which_both_agree_carry_no_evidence(wins: int, losses: int, both: int, neither: int) -> None:
    assert compare("paired", wins, losses, both, neither) == compare("paired", wins, losses)


@pytest.mark.parametrize("rule", ["paired", "paper"])
def test_a_crash_never_outranks_anything(rule: str) -> None:
    labels, hopeless = np.array([0, 1]), np.array([1, 0])
    assert judge(rule, None, hopeless, labels, 0.2).verdict is Verdict.FAILED
    assert judge(rule, None, None, labels, 0.2).verdict is Verdict.FAILED
    assert judge(rule, hopeless, None, labels, 0.2).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("rule", ["paired", "paper"])
def test_an_equal_candidate_is_rejected(rule: str) -> None:
    labels = np.array([0, 1, 1])
    judgement = judge(rule, labels, labels, labels, 0.2)
    assert (judgement.verdict, judgement.wins, judgement.losses, judgement.p_value) == (Verdict.REJECTED, 0, 0, 1.0)


def test_nan_and_misfits_are_not_answers() -> None:
    labels = np.array([0, 1])
    for answers in (np.array([0.0, np.nan]), np.array([0]), np.array([[0], [1]])):
        with pytest.raises(ValueError, match="do not match"):
            judge("paper", answers, labels, labels, 0.2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown"):
        judge("best", labels, None, labels, 0.2)


def test_the_default_accepts_clear_gains_and_refuses_noise() -> None:
    alpha = AcceptanceConfig().alpha
    assert compare("paired", 150, 100, alpha=alpha).verdict is Verdict.ACCEPTED
    assert compare("paired", 102, 100, alpha=alpha).verdict is Verdict.WITHIN_NOISE
