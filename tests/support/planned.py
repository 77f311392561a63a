"""The runs that a command line would start, without starting them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from improve.run import main
from improve.study import sweeper
from improve.study.plan import Plan


def planned(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a study; its command ends before the first run."""
    plans: list[Plan] = []
    monkeypatch.setattr(sweeper.StudySweeper, "_carry_out", lambda self, plan: plans.append(plan))
    assert main(list(arguments)) == 0
    (plan,) = plans
    return plan


def combined(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The combinations of a study's axes, each as key → value; none of them is composed, which takes time."""
    found: list[dict[str, str]] = []

    def seen(combinations: Sequence[Sequence[str]], compose: object) -> Plan:
        found.extend(dict(override.split("=", 1) for override in overrides) for overrides in combinations)
        return Plan((), (), 0)

    with monkeypatch.context() as patched:
        patched.setattr(Plan, "of", seen)
        planned(arguments, patched)
    return found
