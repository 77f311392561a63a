"""Slots: how many trainings at a time, and what each has of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import ExecutorConfig
from improve.errors import ConfigError
from improve.execution import machine
from improve.execution.fit import hard_limit
from improve.execution.lanes import Lane, Lanes
from tests.support.paths import TEMPLATE


@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 5))
def test_lanes_divide_the_machine(slots: int, cores: int, gpus: int) -> None:
    lanes = Lanes(slots, range(cores), gpus)
    taken = []
    for _ in range(slots):
        lease = lanes.one()
        taken.append((lease, lease.__enter__()))
    given_out = [lane for _, lane in taken]
    assert all(lane.cores for lane in given_out)
    if slots <= cores:
        assert sorted(core for lane in given_out for core in lane.cores) == list(range(cores))
        sizes = sorted(len(lane.cores) for lane in given_out)
        assert sizes[-1] - sizes[0] <= 1
        assert all(b == a + 1 for lane in given_out for a, b in pairwise(lane.cores))
    used = [lane.gpu for lane in given_out]
    assert all(gpu is None for gpu in used) if not gpus else set(used) == set(range(min(slots, gpus)))
    for lease, _ in taken:
        lease.__exit__(None, None, None)
    with lanes.one() as first:
        assert first == given_out[0]


def test_one_slot_has_the_whole_machine() -> None:
    with Lanes(1, range(8), 2).one() as lane:
        assert lane == Lane()


def test_slots_are_as_many_as_make_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "gpu_names", lambda: ())
    auto = ExecutorConfig()
    assert [machine.slots(auto, candidates) for candidates in (1, 3, 20)] == [1, 3, 8]
    assert machine.slots(ExecutorConfig(slots="5"), 1) == 5
    assert [machine.training_threads(auto, slots) for slots in (1, 2, 3, 8, 20)] == [7, 4, 2, 1, 1]
    assert machine.training_threads(ExecutorConfig(threads=3), 4) == 3
    monkeypatch.setattr(machine, "gpu_names", lambda: ("A", "A"))
    assert [machine.slots(auto, candidates) for candidates in (1, 3)] == [1, 2]
    assert machine.slots(ExecutorConfig(accelerator="cpu"), 3) == 3


def test_a_training_beside_others_may_be_late() -> None:
    assert [hard_limit(20.0), hard_limit(20.0, 2)] == [50.0, 60.0]
    assert [hard_limit(600.0), hard_limit(600.0, 2)] == [900.0, 1350.0]


def test_a_worker_keeps_to_its_lane() -> None:
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import worker\n"
        "worker.keep_to({'cores': [min(os.sched_getaffinity(0))], 'gpu': 3})\n"
        "print(len(os.sched_getaffinity(0)), os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "worker.keep_to({})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(TEMPLATE)], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["1", "3"], done.stderr


def test_a_cluster_divides_its_own_cores_and_several_devices_leave_nothing_to_divide() -> None:
    ray = ExecutorConfig(name="ray")
    assert machine.slots(ray, 3) == 3
    with machine.lanes(ray, 3).one() as lane:
        assert lane == Lane()
    assert machine.slots(ExecutorConfig(devices=2), 3) == 1
    with pytest.raises(ConfigError, match=r"executor.slots=2 and executor.devices=2 do not go together"):
        check(config_from(["executor.slots=2", "executor.devices=2"]))
