"""Schedules that follow the clock: on a machine that became slow they skip ahead, and never go beyond their end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import template as support

TOTAL = 12


@settings(max_examples=50, deadline=None)
@given(paces=st.lists(st.floats(0, 1), min_size=TOTAL, max_size=TOTAL))
def test_a_one_cycle_schedule_takes_every_step_however_the_clock_runs(paces: list[float]) -> None:
    lib = support.template()
    model: Any = support.components().build_model(support.context(planned_steps=TOTAL))
    optimizer = lib.torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = lib.torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=TOTAL)
    model._trainer = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=schedule, interval="step")])
    clock = iter(sorted(paces))
    model.pace = lambda: next(clock)
    for step in range(1, TOTAL + 1):
        optimizer.step()
        model.lr_scheduler_step(schedule, None)
        assert step <= schedule.last_epoch <= TOTAL
    assert schedule.last_epoch == TOTAL


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_without_a_clock_each_call_is_a_step(interval: str) -> None:
    lib = support.template()
    model: Any = support.components().build_model(support.context(planned_steps=TOTAL))
    optimizer = lib.torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = lib.torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    model._trainer = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=schedule, interval=interval)])
    model.pace = None if interval == "step" else lambda: 1.0
    model.lr_scheduler_step(schedule, None)
    assert schedule.last_epoch == 1
