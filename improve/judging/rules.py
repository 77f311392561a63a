"""The acceptance rule that a configuration names."""

from __future__ import annotations

from improve.config.schema import AcceptanceConfig
from improve.judging.acceptance import Paired, Paper, Rule
from improve.judging.racing import Racing


def configured(acceptance: AcceptanceConfig, iterations: int, candidates: int = 1) -> Rule:
    """The rule of a run with so many iterations, each of so many candidates. Raises `ValueError` on an unknown name.

    What is called better is corrected for the number of candidates, since the best of several is lucky: `racing`, whose
    `alpha` is of a run, for all that a run compares, `paired`, whose `alpha` is of an iteration, for those of an
    iteration (both after Bonferroni). `paper` knows no error that could be corrected.
    """
    if acceptance.rule == "racing":
        return Racing(acceptance.alpha, max(1, iterations * candidates), acceptance.trainings, acceptance.share)
    if acceptance.rule == "paired":
        return Paired(acceptance.alpha / candidates)
    if acceptance.rule == "paper":
        return Paper()
    raise ValueError(f"unknown acceptance rule {acceptance.rule!r}")
