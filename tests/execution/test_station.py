"""What runs on a node of a cluster, without a cluster: its store of files, and stations in this process."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.config.schema import ExecutorConfig, RayConfig
from improve.datasets import Dataset
from improve.domain import Reason
from improve.errors import ClusterError, SandboxError
from improve.execution.cluster import connection
from improve.execution.cluster.connection import Connection
from improve.execution.cluster.executor import NodeSandbox, RayExecutor
from improve.execution.cluster.post import Crew, Lines, Lost, Post
from improve.execution.cluster.station import Station, _own_folder
from improve.execution.cluster.store import Damaged, Store
from improve.judging.audit import audit
from improve.pipeline.export import WEIGHTS
from improve.sandbox import Tier, bubblewrap
from tests.support.bench import executor, honest, make_task
from tests.support.mounts import flock_on_nfs


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(store: Store, data: bytes, size: int) -> str:
    for offset in range(0, max(1, len(data)), size):
        store.receive(sha(data), offset, data[offset : offset + size], offset + size >= len(data))
    return sha(data)


# ------------------------------------------------------------------------------------------------ the store of files


@settings(max_examples=30)
@given(data=st.binary(max_size=40), size=st.integers(1, 50))
def test_a_file_is_here_once_it_has_come_whole(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"), 1000)
    assert store.lacking([sha(data), sha(data)]) == [sha(data)]
    assert send(store, data, size) == sha(data)
    assert store.lacking([sha(data)]) == []
    assert store.path(sha(data)).read_bytes() == data == store.read(sha(data), 0)


def test_what_is_not_what_was_announced_does_not_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, 1000)
    with pytest.raises(Damaged, match="something else"):
        store.receive(sha(b"a"), 0, b"b", True)
    with pytest.raises(Damaged, match="after 0"):
        store.receive(sha(b"a"), 5, b"a", True)
    with pytest.raises(ValueError, match="no SHA-256"):
        store.path("../../etc/passwd")
    assert store.lacking([sha(b"a")]) == [sha(b"a")]


def test_what_was_used_longest_ago_makes_room_and_links_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 25)
    first, second = send(store, b"1" * 10, 99), send(store, b"2" * 10, 99)
    os.utime(store.folder / f"{first}.used", (1, 1))
    os.utime(store.folder / f"{second}.used", (2, 2))
    assert store.lacking([first]) == []  # and so the first has been used now
    store.link(second, tmp_path / "own")
    third = send(store, b"3" * 10, 99)
    assert store.lacking([first, second, third]) == [second]
    assert (tmp_path / "own").read_bytes() == b"2" * 10
    assert store.path(first).stat().st_mtime == 0  # tells nothing inside of when it was used


# ------------------------------------------------------------------------------------------------ stations, in here


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


class Near(Connection):
    """Its one station is in this process; it is lost as often as `losses` says, after so many calls each."""

    def __init__(self, config: ExecutorConfig, mode: str = "auto") -> None:
        super().__init__(config, mode, lambda text: None)
        self.calls: list[str] = []
        self.losses: list[int] = []
        self.crew: Crew | None = None

    def take(self, say: Any = None) -> Crew:
        if self.crew is None:
            station = Station(self.settings())
            losing = self.losses.pop(0) if self.losses else 10**9
            lines = Lines(self._caller(station, len(self.calls) + losing), get, lambda: None)
            self.crew = Crew([Post(lines, "near")], lambda: self._end(station))
        return self.crew

    def _caller(self, station: Station, last: int) -> Any:
        def call(name: str, *arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) > last:
                raise Lost("it is gone")
            return partial(getattr(station, name), *arguments)

        return call

    def _end(self, station: Station) -> None:
        station.close()
        self.crew = None

    def put_back(self, crew: Crew) -> None:
        pass

    def release(self, only: Crew | None = None) -> None:
        if self.crew:
            self.crew.kill()


def get(reference: Any, seconds: float) -> Any:
    return reference()


@dataclasses.dataclass
class Far:
    """An executor whose station is in this process, and what it noted."""

    executor: RayExecutor
    connection: Near
    noted: list[dict[str, Any]]
    store: Path


@pytest.fixture
def far(task: Dataset, tmp_path: Path) -> Iterator[Far]:
    asked = RayConfig(num_cpus=1, cache_dir=str(tmp_path / "node"))
    config = ExecutorConfig(name="ray", accelerator="cpu", steps=20, ray=asked)
    near, noted = Near(config), list[dict[str, Any]]()
    (tmp_path / "run").mkdir()
    made = RayExecutor(
        config, NodeSandbox(Tier.T1), task, {}, tmp_path / "run", 0, lambda *_: None,
        connection=near, hardware="1 CPU core", note=lambda kind, data: noted.append(data),
    )  # fmt: skip
    with closing(made):
        yield Far(made, near, noted, tmp_path / "node" / "files")


def test_a_node_gives_what_this_machine_gives(far: Far, task: Dataset, tmp_path: Path) -> None:
    from improve.sandbox import choose

    (tmp_path / "here").mkdir()
    rows = task.counts["selection"]
    sampled = np.arange(3)
    with closing(executor(task, choose("auto"), tmp_path / "here", steps=20)) as here:
        fit = here.fit(1, honest(), sampled=sampled)
        given_here = here.predict(1, "predict", rows)
    assert far.executor.smoke(1, 0, honest()) is None
    there = far.executor.fit(1, honest(), sampled=sampled)
    assert there.failure is None
    assert [row["train_loss"] for row in there.rows] == [row["train_loss"] for row in fit.rows]
    assert there.samples is not None
    assert there.samples.pixels is not None
    given_there = far.executor.predict(1, "predict", rows)
    assert isinstance(given_there, np.ndarray), given_there
    assert np.array_equal(given_there, given_here)  # type: ignore[arg-type]
    found = audit(far.executor, task, "selection", 1, 0, given_there)
    assert not found["flagged"], found
    assert (far.executor.candidate_folder(1) / "metrics.csv").read_text().count("\n") == 1 + len(there.rows)


def test_inputs_are_sent_once_and_no_label_that_is_scored_on_ever(far: Far, task: Dataset) -> None:
    assert far.executor.fit(1, honest()).failure is None
    sent = far.connection.calls.count("receive")
    assert sent == 5  # images, labels, three components
    assert far.executor.fit(2, honest()).failure is None
    assert far.connection.calls.count("receive") == sent
    given_rows = far.executor.predict(2, "predict", task.counts["selection"])
    assert isinstance(given_rows, np.ndarray), given_rows
    # The images: the weights have lain there since they were made.
    assert far.connection.calls.count("receive") == sent + 1
    audit(far.executor, task, "selection", 2, 0, given_rows)
    there = {path.name for path in far.store.iterdir() if not path.name.endswith(".used")}
    hidden = {path for path in task.files if path.startswith("hidden/")}
    assert {"hidden/selection.npy", "hidden/test.npy"} <= hidden
    assert not there & {task.files[name] for name in hidden}
    labels = task.labels("selection").tobytes()
    assert not [name for name in there if labels in (far.store / name).read_bytes()]
    assert len(there) == sent + 1 + 2  # of the audit nothing has stayed


def test_what_is_lost_is_done_again_and_leaves_one_training(far: Far) -> None:
    far.connection.losses = [3, 9]  # before it began, and in the middle of it
    fit = far.executor.fit(1, honest())
    assert fit.failure is None
    assert [note["what"] for note in far.noted] == ["fit", "fit"]
    assert fit.rows[-1]["step"] == fit.length.planned_steps == 13
    assert len({row["step"] for row in fit.rows}) == len(fit.rows)
    metrics = (far.executor.candidate_folder(1) / "metrics.csv").read_text().splitlines()
    assert len(metrics) == 1 + len(fit.rows)
    assert (far.executor.work_folder(1) / WEIGHTS).stat().st_size > 0


def test_what_is_lost_again_and_again_ends_the_run_with_a_sentence(far: Far) -> None:
    far.connection.losses = [2] * 6
    with pytest.raises(ClusterError, match=r"lost the smoke of iteration 1 6 times; lastly: it is gone"):
        far.executor.smoke(1, 0, honest())


def test_a_crash_of_generated_code_is_not_a_loss(far: Far) -> None:
    broken = honest().with_component("model", honest().model + "\n\nraise OSError('no such luck')\n")
    failure = far.executor.smoke(1, 0, broken)
    assert failure is not None
    assert failure.reason is Reason.CRASH
    assert "no such luck" in failure.message
    fit = far.executor.fit(1, broken)
    assert fit.failure is not None
    assert not far.noted


def test_the_folders_of_a_station_that_was_killed_go_with_the_next(far: Far, tmp_path: Path) -> None:
    left = tmp_path / "node" / "cells" / f"{platform.node().replace('.', '_')}-0123abcd"
    left.mkdir(parents=True)
    (left / "work").mkdir()
    left.with_suffix(".lock").touch()
    assert far.executor.smoke(1, 0, honest()) is None
    assert not left.exists()
    assert not left.with_suffix(".lock").exists()


def test_nodes_that_share_a_folder_keep_off_each_others_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a lock of one machine is not seen by another, as on NFS with `nolock`, only names tell whose they are."""
    folder, lock = _own_folder(tmp_path)
    lock.close()  # nobody sees it
    monkeypatch.setattr(platform, "node", lambda: "another.example.org")
    other, held = _own_folder(tmp_path)
    assert folder.is_dir()
    assert other.with_suffix(".lock").exists()
    held.close()
    monkeypatch.undo()
    _own_folder(tmp_path)[1].close()
    assert not folder.exists()
    assert other.is_dir()


def test_a_station_starts_beside_another_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", flock_on_nfs)
    first, lock = _own_folder(tmp_path)
    second, own = _own_folder(tmp_path)
    assert first.is_dir()
    lock.close()
    _own_folder(tmp_path)[1].close()
    assert (first.exists(), second.exists()) == (False, True)
    own.close()


# ------------------------------------------------------------------------------------------- what nodes are refused for


def offer(**changes: Any) -> dict[str, Any]:
    said = {"host": "node7", "tier": "T3", "how_to_improve": "", "gpus": 1, "code": connection.code_hash()}
    return {**said, **changes}


@pytest.mark.parametrize(
    ("said", "gpus", "error", "words"),
    [
        (
            {"error": ["sandbox=require, but tier T3 does not work here.", "install bubblewrap"]},
            0,
            SandboxError,
            "node7",
        ),
        ({"code": "other"}, 0, ClusterError, "another version"),
        ({"gpus": 0}, 1, ClusterError, "no NVIDIA GPU is seen"),
        ({"tier": "T1", "how_to_improve": "T3: no bwrap"}, 0, SandboxError, "tier T1, weaker than this run's T3"),
    ],
)
def test_a_node_that_cannot_keep_to_a_run_is_refused_in_a_sentence(
    said: dict[str, Any], gpus: int, error: type[Exception], words: str
) -> None:
    near = Near(ExecutorConfig(name="ray", ray=RayConfig(num_gpus=gpus)))
    near.tier = Tier.T3
    near._check(offer())
    with pytest.raises(error, match=words):
        near._check(offer(**said))


def test_a_node_where_code_cannot_be_confined_says_so(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "NEEDED", ("no-such-program",))
    station = Station(Near(far.executor.config, "require").settings())
    with closing(station):
        what, fix = json.loads(station.report())["error"]
    assert "tier T3 does not work here" in what
    assert fix


def test_a_file_that_changes_on_its_way_is_sent_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Store.receive
    broken = [True]

    def receive(store: Store, name: str, offset: int, data: bytes, last: bool) -> None:
        whole(store, name, offset, data[:-1] if broken and broken.pop() else data, last)

    monkeypatch.setattr(Store, "receive", receive)
    assert far.executor.smoke(1, 0, honest()) is None
    assert "damaged on its way" in far.noted[0]["why"]
