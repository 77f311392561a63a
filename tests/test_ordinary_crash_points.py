"""The same as in `test_crash_points.py` by an ordinary user: a file of its own, so that both run side by side."""

from __future__ import annotations

import pytest

from tests.support.crash_points import PROGRAM, runs
from tests.support.ordinary import ordinary_user


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_ordinary_users_run_that_is_torn_within_every_record_ends_as_a_whole_one() -> None:
    with ordinary_user() as user, runs(user.command(*PROGRAM), user.home) as made:
        made.torn(len(made.whole()))
