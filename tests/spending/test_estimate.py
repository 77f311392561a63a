"""Estimates before anybody is asked: what grows with iterations grows with their candidates."""

from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from improve.commands.dry_run import DryRun, print_dry_run
from improve.config.checks import check
from improve.config.compose import config_from
from improve.domain import Prompt, Role
from improve.errors import ConfigError
from improve.spending.estimate import Estimate, Example, estimate

EXAMPLES = {role: Example(Prompt("system", "user"), "reply", 10) for role in get_args(Role)}


def estimated(*overrides: str) -> Estimate:
    return estimate(config_from(["dataset=digits", *overrides]), EXAMPLES, re_asks=2)


def test_candidates_are_counted() -> None:
    several, many = (estimated("llm=gpt-4o", *more) for more in (
        ("strategy.iterations=4", "strategy.candidates=3"), ("strategy.iterations=12",),
    ))  # fmt: skip
    assert several == many
    assert several.trainings == 13
    assert several.total.low.calls == 2 + 12 * 3  # architect and summarizer, then analyst, engineer, summarizer
    assert estimated("strategy=zero_shot", "strategy.candidates=3").trainings == 1


def test_a_dry_run_says_how_many_trainings_go_side_by_side(tmp_path: Path) -> None:
    config = config_from(["dataset=digits", "strategy.iterations=4", "strategy.candidates=3", "executor.slots=3"])
    said = Console(file=io.StringIO(), width=200, record=True)
    print_dry_run(DryRun("run", config, estimate(config, EXAMPLES, 2), tmp_path / "architect.md", ""), said)
    assert "At most 13 trainings of up to 20 s each, 3 at a time." in said.export_text()


@pytest.mark.parametrize("slots", ["0", "-1", "many", "1.5", ""])
def test_slots_that_are_no_number_are_refused(slots: str) -> None:
    config = config_from(["dataset=digits"])
    config.executor.slots = slots
    with pytest.raises(ConfigError, match=rf"executor.slots={slots}"):
        check(config)


def test_no_candidate_is_refused() -> None:
    config = config_from(["dataset=digits", "strategy.candidates=0"])
    with pytest.raises(ConfigError, match=r"strategy\.candidates=0"):
        check(config)
