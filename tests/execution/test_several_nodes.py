"""One training on several nodes: stations in this process, each with a sandbox; and refusals. See `test_cluster.py`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from improve.agents.brief import shown_context
from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import ExecutorConfig, RayConfig
from improve.datasets import Dataset
from improve.domain import Reason
from improve.errors import ConfigError, SandboxError
from improve.execution import machine
from improve.execution.cluster import network
from improve.execution.cluster.connection import Connection
from improve.execution.cluster.executor import NodeSandbox, RayExecutor
from improve.execution.cluster.post import Crew, Lines, Lost, Post
from improve.execution.cluster.station import Station, report
from improve.execution.fit import Fit
from improve.pipeline.export import WEIGHTS
from improve.sandbox import Tier
from tests.support.bench import honest, make_task
from tests.support.device import needs_device
from tests.support.together import resnet_weights, thawing


class Near(Connection):
    """Its stations are in this process, as if each were on a node of its own; `lose`: the one that is to be lost."""

    def __init__(self, config: ExecutorConfig) -> None:
        super().__init__(config, "require", lambda text: None)
        self.lose: int | None = None
        self.taken = 0
        self.crew: Crew | None = None

    def _made(self, node: int) -> Post:
        station = Station(self.settings())
        gone: list[bool] = []

        def kill() -> None:
            if not gone:
                gone.append(True)
                station.close()

        def call(name: str, *arguments: Any) -> Callable[[], Any]:
            if gone:
                raise Lost("it is gone")
            if name == "poll" and node == self.lose:
                self.lose = None
                kill()  # its connections end without a word
                raise Lost("it was killed")
            return partial(getattr(station, name), *arguments)

        return Post(Lines(call, lambda reference, seconds: reference(), kill), f"node{node}", "127.0.0.1")

    def take(self, say: Any = None) -> Crew:
        if self.crew is None or self.crew.ended:
            self.taken += 1
            posts = [self._made(node) for node in range(self.config.num_nodes)]

            def end() -> None:
                for post in posts:
                    post.lines.kill()

            self.crew = Crew(posts, end)
        return self.crew

    def put_back(self, crew: Crew) -> None:
        pass

    def release(self, only: Crew | None = None) -> None:
        if self.crew:
            self.crew.kill()


@dataclasses.dataclass
class Far:
    executor: RayExecutor
    connection: Near
    noted: list[dict[str, Any]]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture
def far(task: Dataset, tmp_path: Path) -> Iterator[Far]:
    asked = RayConfig(num_cpus=1, cache_dir=str(tmp_path / "node"))
    config = ExecutorConfig(name="ray", accelerator="cpu", steps=20, num_nodes=2, ray=asked)
    near, noted = Near(config), list[dict[str, Any]]()
    (tmp_path / "run").mkdir()
    made = RayExecutor(
        config, NodeSandbox(Tier.T3), task, {}, tmp_path / "run", 0, lambda *_: None,
        connection=near, hardware="1 CPU core", note=lambda kind, data: noted.append(data),
    )  # fmt: skip
    with closing(made):
        yield Far(made, near, noted)


def losses(fit: Fit) -> list[tuple[float, float]]:
    assert fit.failure is None, fit.failure.detail
    return [(row["train_loss"], row["validation_loss"]) for row in fit.rows]


@needs_device
def test_two_nodes_learn_what_one_learns(far: Far, task: Dataset) -> None:
    executor, near, found = far.executor, far.connection, {}
    for nodes, devices in ((1, 1), (2, 1), (2, 2)):
        changes = {"num_nodes": nodes, "devices": devices}
        executor.config = near.config = dataclasses.replace(executor.config, **changes)
        near.release()
        found[nodes * devices] = losses(executor.fit(1, honest()))
        assert {path.name for path in executor.work_folder(1).iterdir()} == {WEIGHTS}
    assert found[1]
    assert np.allclose(found[2], found[1], rtol=1e-4), found
    assert np.allclose(found[4], found[1], rtol=1e-4), found
    given = executor.predict(1, "predict", task.counts["selection"])
    assert isinstance(given, np.ndarray), given
    assert near.taken == 3


@needs_device
@pytest.mark.slow
def test_two_nodes_agree_on_a_plan_by_time_on_features_and_on_layers_that_thaw(far: Far, tmp_path: Path) -> None:
    """Each node has a work folder of its own, and so features of its own."""
    far.executor.weights = resnet_weights(tmp_path)
    far.executor.config = dataclasses.replace(far.executor.config, steps=None, fit_seconds=12)
    for pipeline in thawing():
        fit = far.executor.fit(1, pipeline)
        assert fit.failure is None, fit.failure.detail
        assert fit.length.steps > 20
        assert fit.seconds < 18


FAILING = """
    def on_train_batch_end(self, outputs, batch, index):
        import os
        if os.environ["NODE_RANK"] == "1" and index == 3:
            {}
"""


@needs_device
@pytest.mark.parametrize(
    ("deed", "reason", "words"),
    [
        ("raise ValueError('the second node has had enough')", Reason.CRASH, "the second node has had enough"),
        ("self.hoard = [bytes(b'1' * 2**28) for _ in range(40)]", Reason.OUT_OF_MEMORY, "more memory than"),
    ],
)
def test_what_goes_wrong_on_another_node_is_told_and_ends_all(far: Far, deed: str, reason: Reason, words: str) -> None:
    far.executor.config = far.connection.config = dataclasses.replace(far.executor.config, memory_gib=3.0)
    fit = far.executor.fit(1, honest().with_component("model", honest().model + FAILING.format(deed)))
    assert fit.failure is not None
    assert (fit.failure.reason, words in fit.failure.message) == (reason, True), fit.failure
    assert not far.noted, "it is no loss"


@needs_device
def test_a_node_that_is_lost_costs_that_training_alone(far: Far) -> None:
    far.connection.lose = 1
    fit = far.executor.fit(1, honest())
    assert fit.failure is None
    assert [note["what"] for note in far.noted] == ["fit"]
    assert far.connection.taken == 2
    assert fit.length.steps == fit.length.planned_steps == 13


# -------------------------------------------------------------------------------------------- what is said and refused


def test_the_training_engineer_is_told_of_all_processes(far: Far) -> None:
    context = far.executor.context()
    said = " ".join(shown_context(context, {}).split())
    assert "2 processes on 2 machines share one training" in said
    assert "Gradients cross a network between machines" in said
    before = {name: value for name, value in context.items() if name != "num_nodes"}
    assert "share one training" not in shown_context(before, {})


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"executor\.num_nodes=2 needs the nodes of a Ray cluster"):
        check(config_from(["executor.num_nodes=2"]))
    check(config_from(["executor=ray", "executor.num_nodes=2"]))
    for tier in (Tier.T1, Tier.T0):
        with pytest.raises(SandboxError, match=f"which tier T3 has and {tier.name} has not"):
            machine.check_devices(ExecutorConfig(name="ray", num_nodes=2), NodeSandbox(tier))
    machine.check_devices(ExecutorConfig(name="ray", num_nodes=2), NodeSandbox(Tier.T3))


def test_a_node_without_the_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "DEVICE", "/dev/net/nothing")
    near = Near(ExecutorConfig(name="ray", num_nodes=2))
    said = json.loads(report(near.settings()))
    with pytest.raises(
        SandboxError, match=rf"On {said['host']}, a node of the Ray cluster: executor.num_nodes above 1"
    ):
        near._check(said)
    assert "error" not in json.loads(report(Near(ExecutorConfig(name="ray")).settings()))
