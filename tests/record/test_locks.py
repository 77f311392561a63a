"""Whatever is locked can be locked on NFS."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from improve.datasets.store import locked, remove_left_over
from improve.errors import InUse
from improve.llm.pace import Pace
from improve.record.journal import Journal
from improve.study.probe import probes, require_locks
from tests.support.mounts import flock_on_nfs


def run(folder: Path) -> None:
    journal = Journal(folder)
    with pytest.raises(InUse, match="in use by process"):
        Journal(folder)
    journal.close()
    Journal(folder).close()


def images(folder: Path) -> None:
    (folder / "digits.building").mkdir()
    with locked(folder / "digits.lock", lambda text: None):
        remove_left_over(folder)
        assert (folder / "digits.building").exists()
    remove_left_over(folder)
    assert not (folder / "digits.building").exists()


def pace(folder: Path) -> None:
    Pace(folder / "pace.json", 600, None, 10).begin(1, lambda text: None)


def study(folder: Path) -> None:
    with probes([folder]) as files:
        require_locks(files)


@pytest.mark.parametrize("of", [run, images, pace, study])
def test_what_is_locked_may_be_written(
    of: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock_on_nfs)
    of(tmp_path)
