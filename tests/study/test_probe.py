"""Whether locks hold between machines is tried out. Another machine is a file that is written and locked elsewhere."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from improve.errors import ConfigError
from improve.record import journal
from improve.record.journal import Journal
from improve.study import probe
from improve.study.probe import probes, require_locks
from tests.support.mounts import mounted, needs_bindfs


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "BEAT", 0.05)


def test_a_lock_that_holds_takes_no_time(tmp_path: Path) -> None:
    with probes([tmp_path]) as files:
        began = time.monotonic()
        require_locks(files)
        assert time.monotonic() - began < 0.05
        assert files[0].parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_not_seen_is_refused(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with probes([here]) as files, _followed(files[0], there):
        with pytest.raises(ConfigError, match="is not seen by") as refused:
            require_locks([there / files[0].name])
        assert "outputs=DIR" in refused.value.fix


def test_a_process_that_has_died_proves_nothing(tmp_path: Path) -> None:
    left = tmp_path / ".locks-other-1"
    left.write_text("        7")
    require_locks([left])
    require_locks([tmp_path / ".locks-other-2"])


class _followed:
    """A second mount of a folder through which what is written is seen, and locks are not."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file, self._copy, self._ended = file, folder / file.name, threading.Event()
        folder.mkdir()

    def __enter__(self) -> None:
        self._follow()
        self._thread = threading.Thread(target=self._keep_up)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _keep_up(self) -> None:
        while not self._ended.wait(0.01):
            self._follow()

    def _follow(self) -> None:
        if self._copy.exists():
            with open(self._copy, "r+") as copy:
                copy.write(self._file.read_text())
        else:
            self._copy.write_text(self._file.read_text())


@needs_bindfs
def test_two_real_mounts_without_common_locks(tmp_path: Path) -> None:
    """Each mount of bindfs, like each machine of NFS with `nolock`, keeps its locks to itself."""
    one, other = tmp_path / "one", tmp_path / "other"
    with mounted(tmp_path / "real", one, other), probes([one]) as files:
        require_locks(files)  # the same mount
        with pytest.raises(ConfigError, match="is not seen by"):
            require_locks([other / files[0].name])


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_refused(error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def flock(file: object, kind: int) -> None:
        raise OSError(getattr(errno, error), "No locks available")

    monkeypatch.setattr(journal.fcntl, "flock", flock)
    with pytest.raises(ConfigError, match="gives no locks"):
        Journal(tmp_path)
    with pytest.raises(ConfigError, match="gives no locks"), probes([tmp_path]):
        pass
    assert fcntl.flock is flock
