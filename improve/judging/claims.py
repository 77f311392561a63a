"""What a run may claim: by how much one pipeline is better than another, and how far luck may have moved that.

An interval covers the images (would it be so on other images like these?) and, where trainings were repeated or what is
known of their luck applies, the training (would it be so with other training seeds?).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from improve.domain import Score
from improve.judging.acceptance import mcnemar
from improve.judging.evidence import Estimate, Luck, Part, Right, Rows, Tally, contrast, difference, luck
from improve.judging.racing import PRIOR
from improve.judging.standings import Entry, Standings

LEVEL = 0.05


@dataclass(frozen=True)
class Gain:
    """A difference of accuracies (fractions) with its interval and a two-sided p-value against no difference.

    `trainings`: of the better and of the other pipeline, or of all pipelines in a sum. `covers_training`: whether the
    interval covers the luck of a training; if not, the images alone.
    """

    effect: float
    low: float
    high: float
    p_value: float
    trainings: tuple[int, int]
    covers_training: bool
    confidence: float = 1 - LEVEL

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def gain(tally: Tally, ours: Rows, theirs: Rows, found: Luck) -> Gain:
    """Our pipeline against theirs, over images and trainings."""
    estimate = difference(tally, ours, theirs, found)
    return _gain(estimate, (len(ours), len(theirs)), 1 - LEVEL)


def gain_on_images(right: Right) -> Gain:
    """The first row of answers against the second, over images alone: of two networks, not of two pipelines.

    The interval is Bonett and Price's for paired proportions (2012), the p-value that of the exact McNemar test.
    """
    ours, theirs = right
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    images = right.shape[1]
    more, less = (wins + 1) / (images + 2), (losses + 1) / (images + 2)
    reach = 1.959964 * ((more + less - (more - less) ** 2) / (images + 2)) ** 0.5
    p_value = min(1.0, 2 * min(mcnemar(wins, losses), mcnemar(losses, wins)))
    middle = more - less
    return Gain((wins - losses) / images, middle - reach, middle + reach, p_value, (1, 1), False)


def gain_of_scores(ours: Score, theirs: Score) -> Gain:
    """A score against another, where all that is left of both are counts: over images alone, as if they were others.

    The interval is Newcombe's for two proportions (1998, method 10); the p-value is Fisher's.
    """
    from scipy.stats import fisher_exact  # as in scoring.wilson

    effect = ours.accuracy - theirs.accuracy
    low = effect - ((ours.accuracy - ours.low) ** 2 + (theirs.high - theirs.accuracy) ** 2) ** 0.5
    high = effect + ((ours.high - ours.accuracy) ** 2 + (theirs.accuracy - theirs.low) ** 2) ** 0.5
    counts = [[score.correct, score.total - score.correct] for score in (ours, theirs)]
    return Gain(effect, low, high, float(fisher_exact(counts).pvalue), (1, 1), False)


@dataclass(frozen=True)
class Step:
    """A change that the search went on from: the component that changed, and the trainings after and before it."""

    component: str
    after: Rows
    before: Rows


def gains_by_component(tally: Tally, steps: Sequence[Step], judged: int, found: Luck) -> Mapping[str, Gain]:
    """What each component gained in all its steps together, on the images that the steps were chosen by.

    What was chosen because it looked good was partly lucky. The intervals are therefore wider than 95%: with `judged`
    changes, of which these steps were chosen, they have the level of Benjamini and Yekutieli (2005), so that of all
    intervals shown a share of 95% is expected to hold.
    """
    confidence = 1 - LEVEL * min(1.0, len(steps) / max(judged, 1))
    gains: dict[str, Gain] = {}
    for component in dict.fromkeys(step.component for step in steps):
        own = [step for step in steps if step.component == component]
        parts = [part for step in own for part in (Part(1, step.after), Part(-1, step.before))]
        trainings = sum(len(step.after) for step in own), sum(len(step.before) for step in own)
        if merged := _merged(parts):  # else it is what it was
            gains[component] = _gain(contrast(tally, merged, found), trainings, confidence)
    return gains


@dataclass(frozen=True)
class Change:
    """A change that the search went on from, and what stood before."""

    component: str
    after: Entry
    before: Entry


def claimed(standings: Standings, changes: Sequence[Change], tested: Sequence[Sequence[Right]]) -> dict[str, Any]:
    """What a run claims (see `record.kinds.ClaimsRecord`), after all its trainings.

    `tested`: which test images each training gets right, of the best pipeline, then of the first if it is another; the
    gain is None without both.
    """
    steps = [Step(change.component, change.after.rows, change.before.rows) for change in changes]
    tally = standings.tally()
    found = luck(standings.shown(), tally.images, PRIOR)
    components = gains_by_component(tally, steps, standings.races, found)
    whole = _first_against_best(standings, tested) if len(tested) > 1 and all(tested) else None
    return {
        "gain": dataclasses.asdict(whole) if whole else None,
        "components": {name: dataclasses.asdict(one) for name, one in components.items()},
    }


def _first_against_best(standings: Standings, tested: Sequence[Sequence[Right]]) -> Gain:
    best, first = tested
    tally = Tally.of(np.array([*best, *first]))
    rows = range(len(best) + len(first))
    return gain(tally, rows[: len(best)], rows[len(best) :], luck(standings.shown(), tally.images, PRIOR))


def _merged(parts: Sequence[Part]) -> list[Part]:
    """Parts of the same pipeline as one: what a step ends with, the next may begin with."""
    factors: dict[tuple[int, ...], float] = {}
    for part in parts:
        key = tuple(part.rows)
        factors[key] = factors.get(key, 0.0) + part.factor
    return [Part(factor, rows) for rows, factor in factors.items() if factor]


def _gain(estimate: Estimate, trainings: tuple[int, int], confidence: float) -> Gain:
    low, high = estimate.interval(confidence)
    p_value = min(1.0, 2 * min(estimate.above(), 1 - estimate.above()))
    return Gain(estimate.effect, low, high, p_value, trainings, True, confidence)
