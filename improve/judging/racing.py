"""A race over training seeds: what may be better is trained again, and so is the incumbent, until it is decided.

Two things are kept apart. What the search *goes on from* is what has the better mean so far: to be strict here would
cost accuracy. What is *called* better must be so on average over training seeds and on images like these, so surely
that of all runs in which nothing is better a share of at most `alpha` calls anything better.

One training of the candidate comes first. What is clearly worse or surely better is decided by it; what is close makes
candidate and incumbent train again, whoever has fewer trainings, and the incumbent's add up over the races of a run.
New candidates are worth more than certainty about old ones, so further trainings are at most a `share` of the races, of
which the first few do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from improve.domain import Verdict
from improve.judging.acceptance import Further, Judgement, Race
from improve.judging.evidence import Estimate, Prior, difference, luck

# All are chosen on the bank of trainings (`python -m benchmarks.rules`, docs/verdicts): the luck of its pipelines, with
# which the intervals of claims hold; a level with which of runs that change nothing few enough call anything better, as
# the looks of a run share trainings; and when to train again, so that runs end no worse than under the other rules.
PRIOR = Prior(churn=0.45, seed=0.03, freedom=3.0, weight=4.0)
LEVEL = 4.0  # times `alpha` over the races: Bonferroni's bound alone would be far from reached
EARLY = 5  # races that do not count for the share: gains are large then, and new candidates are worth more
HOPELESS, SURE = 0.3, 0.95  # chances of being better between which a candidate is trained again


@dataclass(frozen=True)
class Racing:
    """`comparisons`: races of the run; `trainings`: of a candidate, at most; `share`: see above."""

    alpha: float
    comparisons: int
    trainings: int = 3
    share: float = 0.3
    prior: Prior = PRIOR

    @property
    def level(self) -> float:
        """The largest p-value that accepts, at any look in any race."""
        return min(self.alpha, LEVEL * self.alpha / self.comparisons)

    def judge(self, race: Race) -> Judgement | Further:
        ours, theirs = len(race.candidate), len(race.incumbent)
        expected = luck(race.others, race.tally.images, self.prior)
        now = difference(race.tally, race.candidate, race.incumbent, expected)
        p_value = now.above()
        if p_value <= self.level:
            return self._judgement(Verdict.ACCEPTED, race, now, p_value)
        affordable = not race.final and race.further + 1 <= self.share * (race.races - EARLY)
        if affordable and ours < self.trainings and HOPELESS <= 1 - p_value < SURE:
            # Where both are known equally well, whoever is ahead is the one that may owe it to luck.
            candidate = ours < theirs or (ours == theirs and now.effect > 0)
            return Further.CANDIDATE if candidate else Further.INCUMBENT
        return self._judgement(Verdict.KEPT if now.effect > 0 else Verdict.REJECTED, race, now, p_value)

    def _judgement(self, verdict: Verdict, race: Race, now: Estimate, p_value: float) -> Judgement:
        low, high = now.interval()
        ours, theirs = len(race.candidate), len(race.incumbent)
        note = (
            f"{verdict.value}: {100 * now.effect:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}, "
            f"{ours} against {theirs} trainings (p = {p_value:.2g}, accepted up to {self.level:.2g})"
        )
        wins = round(race.tally.won(race.candidate, race.incumbent))
        losses = round(race.tally.won(race.incumbent, race.candidate))
        return Judgement(verdict, note, wins, losses, p_value, now.effect, low, high, (ours, theirs))
