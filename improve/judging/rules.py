"""The acceptance rule that a configuration names."""

from __future__ import annotations

from improve.config.schema import AcceptanceConfig
from improve.judging.acceptance import Paired, Paper, Rule
from improve.judging.racing import Racing


def configured(acceptance: AcceptanceConfig, comparisons: int) -> Rule:
    """`comparisons`: how many candidates the run compares at most. Raises `ValueError` on an unknown name."""
    if acceptance.rule == "racing":
        return Racing(acceptance.alpha, max(1, comparisons), acceptance.trainings, acceptance.share)
    if acceptance.rule == "paired":
        return Paired(acceptance.alpha)
    if acceptance.rule == "paper":
        return Paper()
    raise ValueError(f"unknown acceptance rule {acceptance.rule!r}")
