"""The verdict rules: does a candidate replace the incumbent? Decided from answers and hidden labels, never from text.

`paper`: any increase in accuracy is accepted, as in the paper.
`paired`: candidate and incumbent answered the same images, so only the images that exactly one of them gets right
carry evidence. The exact one-sided McNemar test asks how likely at least so many wins are if both are equally good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from improve.domain import Verdict
from improve.judging.scoring import Answers, Labels


@dataclass(frozen=True)
class Judgement:
    """A verdict, why (one line), and the evidence.

    `wins`: images that only the candidate gets right; `losses`: images that only the incumbent gets right;
    `p_value`: of the exact one-sided McNemar test, None where nothing was compared.
    """

    verdict: Verdict
    note: str
    wins: int = 0
    losses: int = 0
    p_value: float | None = None


def judge(rule: str, candidate: Answers | None, incumbent: Answers | None, labels: Labels, alpha: float) -> Judgement:
    """Compare the answers of a candidate (None: it failed) with the incumbent's (None: there is none yet).

    `rule` is "paired" or "paper"; `alpha` is the largest p-value that `paired` accepts. A candidate that failed
    never outranks anything; any score outranks having none. Both rules reject a candidate that is not more
    accurate; "within noise" is only said of a candidate that is more accurate, but by too little to be sure.
    Raises `ValueError` on an unknown rule or on answers that do not match the labels.
    """
    if rule not in ("paired", "paper"):
        raise ValueError(f"unknown acceptance rule {rule!r}")
    if candidate is None:
        return Judgement(Verdict.FAILED, "failed: it has no score")
    _check(candidate, labels)
    if incumbent is None:
        return Judgement(Verdict.ACCEPTED, "accepted: the first pipeline with a score")
    _check(incumbent, labels)
    right, was_right = candidate == labels, incumbent == labels
    wins, losses = int((right & ~was_right).sum()), int((was_right & ~right).sum())
    p_value = mcnemar(wins, losses)
    verdict = _verdict(rule, wins, losses, p_value, alpha)
    threshold = "" if rule == "paper" else f", accepted up to {alpha:g}"
    evidence = f"{wins} images won, {losses} lost (p = {p_value:.2g}{threshold})"
    return Judgement(verdict, f"{verdict.value}: {evidence}", wins, losses, p_value)


def mcnemar(wins: int, losses: int) -> float:
    """P(at least `wins` of `wins + losses` fair coin tosses): the exact one-sided McNemar test."""
    from scipy.stats import binom  # as in scoring.wilson

    return float(binom.sf(wins - 1, wins + losses, 0.5))


def _verdict(rule: str, wins: int, losses: int, p_value: float, alpha: float) -> Verdict:
    if wins <= losses:
        return Verdict.REJECTED
    if rule == "paper" or p_value <= alpha:
        return Verdict.ACCEPTED
    return Verdict.WITHIN_NOISE


def _check(answers: Answers, labels: Labels) -> None:
    if answers.shape != labels.shape or not np.issubdtype(answers.dtype, np.integer):
        raise ValueError(f"answers {answers.dtype}{answers.shape} do not match labels {labels.shape}")
