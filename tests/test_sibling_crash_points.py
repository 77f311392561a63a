"""Several candidates an iteration, killed at records around their trainings: resumed, a run ends as a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash_points import PROGRAM, runs
from tests.test_resume import steps


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_of_two_candidates_an_iteration_that_is_killed_often_ends_as_a_whole_one(tmp_path: Path) -> None:
    with runs(PROGRAM, tmp_path) as made:
        made.settings = ("strategy.candidates=2", "executor.slots=2", "strategy.iterations=2", "finish=single")
        assert made.carry_out("whole")
        expected = steps(made.folder / "whole")
        verdicts = [data["verdict"] for _, kind, data in expected if kind == "verdict"]
        assert verdicts == ["accepted", "accepted", "rejected", "failed", "failed"]
        assert [len(data["trainings"]) for _, kind, data in expected if kind == "batch"] == [1, 2]
        asked = len(made.server.requests)
        batch = [kind for _, kind, _ in expected].index("batch", 10) + 1
        assert not made.carry_out("killed", "after", batch), "both are about to be trained"
        for number in (1, 1, 2, 1):  # after the first training's record, its score, the second one …
            assert not made.carry_out("killed", "after", number)
        while not made.carry_out("killed", "after", 4):
            pass
        made.equals_whole("killed")
        assert len(made.server.requests) == 2 * asked, "somebody was asked twice"
