"""Killed after every record, and within each: resumed, a run ends with the records and weights of a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash_points import PROGRAM, runs


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_is_killed_at_every_record_ends_as_a_whole_one(tmp_path: Path) -> None:
    with runs(PROGRAM, tmp_path) as made:
        expected = made.whole()
        asked = len(made.server.requests)
        for _ in expected:
            assert not made.carry_out("after", "after", 1)
        assert made.carry_out("after")
        made.equals_whole("after")
        assert len(made.server.requests) == 2 * asked, "somebody was asked twice"
        made.torn(len(expected))
