"""The verdict rules: does a candidate replace the incumbent? Decided from answers and hidden labels, never from text.

`paper`: any increase in accuracy is accepted, as in the paper.
`paired`: candidate and incumbent answered the same images, so only the images that exactly one of them gets right
carry evidence. The exact one-sided McNemar test asks how likely at least so many wins are if both *trained networks*
are equally good. Trained again with another seed, each would be another network.
`racing` knows that, and asks for further trainings where they may decide: see `racing.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from improve.domain import Verdict
from improve.judging.evidence import Rows, Shown, Tally


class Further(enum.Enum):
    """What a rule wants to see before it decides: one more training, with a new seed."""

    CANDIDATE = "candidate"
    INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Judgement:
    """A verdict, why (one line), and the evidence.

    `wins`: images that only the candidate gets right; `losses`: images that only the incumbent gets right (means over
    all pairs of trainings, rounded); `p_value`: one-sided, None where nothing was compared. `effect`, `low`, `high`:
    the difference of the accuracies with its 95% interval, for a rule that knows it. `trainings`: how many of the
    candidate and of the incumbent were looked at.
    """

    verdict: Verdict
    note: str
    wins: int = 0
    losses: int = 0
    p_value: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    trainings: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Race:
    """What a rule decides from: the trainings of a candidate and of the incumbent, as rows of a tally.

    `others`: what all other pipelines of the run show of training luck. `races`: how many the run has had, with this
    one; `further`: its trainings beyond one a candidate. `final`: no further training can be had.
    """

    tally: Tally
    candidate: Rows
    incumbent: Rows
    others: Shown = field(default_factory=Shown)
    races: int = 1
    further: int = 0
    final: bool = False


def without_comparison(has_score: bool, why: str = "it has no score") -> Judgement:
    """Where there is nothing to compare: a candidate that failed never outranks anything, any score outranks none."""
    if has_score:
        return Judgement(Verdict.ACCEPTED, "accepted: the first pipeline with a score", trainings=(1, 0))
    return Judgement(Verdict.FAILED, f"failed: {why}")


class Rule(Protocol):
    """Decides a race, or asks for one more training. Both pipelines have at least one."""

    def judge(self, race: Race) -> Judgement | Further: ...


@dataclass(frozen=True)
class Paper:
    """Any increase."""

    def judge(self, race: Race) -> Judgement:
        wins, losses = _images(race)
        verdict = Verdict.ACCEPTED if wins > losses else Verdict.REJECTED
        return _judgement(verdict, wins, losses, mcnemar(wins, losses), "")


@dataclass(frozen=True)
class Paired:
    """What the exact McNemar test finds better, with a p-value of at most `alpha`.

    A candidate that is not more accurate is rejected; "within noise" is only said of one that is, by too little.
    """

    alpha: float

    def judge(self, race: Race) -> Judgement:
        wins, losses = _images(race)
        p_value = mcnemar(wins, losses)
        verdict = Verdict.ACCEPTED if p_value <= self.alpha else Verdict.WITHIN_NOISE
        if wins <= losses:
            verdict = Verdict.REJECTED
        return _judgement(verdict, wins, losses, p_value, f", accepted up to {self.alpha:g}")


def mcnemar(wins: int, losses: int) -> float:
    """P(at least `wins` of `wins + losses` fair coin tosses): the exact one-sided McNemar test."""
    from scipy.special import bdtrc  # as in scoring.wilson

    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0


def _images(race: Race) -> tuple[int, int]:
    """Wins and losses of the first training of each."""
    ours, theirs = race.candidate[:1], race.incumbent[:1]
    return round(race.tally.won(ours, theirs)), round(race.tally.won(theirs, ours))


def _judgement(verdict: Verdict, wins: int, losses: int, p_value: float, threshold: str) -> Judgement:
    evidence = f"{wins} images won, {losses} lost (p = {p_value:.2g}{threshold})"
    return Judgement(verdict, f"{verdict.value}: {evidence}", wins, losses, p_value, trainings=(1, 1))
