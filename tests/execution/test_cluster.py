"""Runs on a real Ray cluster of several nodes on this machine, each with a cache of its own; some are killed."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from improve.config.schema import ExecutorConfig, RayConfig
from improve.execution.cluster.connection import Connection
from improve.execution.cluster.executor import NodeSandbox, RayExecutor
from improve.record.history import History
from improve.record.journal import JOURNAL, read
from improve.sandbox import Tier
from tests.support.bench import honest, make_task
from tests.support.device import needs_device
from tests.support.paths import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ray = pytest.importorskip("ray", reason="the extra ray is not installed")

SMALL = (
    "dataset=digits", "dataset.train=300", "dataset.selection=100", "dataset.test=100", "llm=offline", "display=plain",
    "strategy.iterations=1", "finish=single", "acceptance=paired", "executor=ray", "executor.ray.num_cpus=1",
)  # fmt: skip


@dataclass
class Node:
    """A raylet with one CPU, and where it keeps what it is sent."""

    handle: Any
    cache: Path

    def busy(self) -> bool:
        return any((self.cache / "cells").glob("*/*/work")) if self.cache.exists() else False

    def files(self) -> set[str]:
        return {path.name for path in (self.cache / "files").glob("[0-9a-f]*") if path.suffix != ".used"}


class Nodes:
    """A head without CPUs, which the driver is on, and nodes that can be added and killed."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.folder = folder
        self.address = str(self.cluster.address)
        self.nodes: list[Node] = []

    def add(self, **environment: str) -> Node:
        cache = self.folder / f"node{len(self.nodes)}"
        given = {"IMPROVE_NODE_CACHE": str(cache), **environment}
        node = Node(self.cluster.add_node(num_cpus=1, env_vars=given), cache)
        self.nodes.append(node)
        return node

    def kill(self, node: Node) -> None:
        self.cluster.remove_node(node.handle, allow_graceful=False)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "200")  # on a busy machine
    made = Nodes(tmp_path)
    yield made
    made.cluster.shutdown()


class Outside:
    """A Ray of one node, begun by hand, to which a run outside of it is a client."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.node = folder, Node(None, folder / "node0")
        port, clients = free_ports(2)
        self.address = f"ray://127.0.0.1:{clients}"
        self.said = folder / "ray.txt"
        with open(self.said, "wb") as output:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=1",
                    "--include-dashboard=false", f"--port={port}", f"--ray-client-server-port={clients}",
                ],
                env={**os.environ, "IMPROVE_NODE_CACHE": str(self.node.cache), "RAY_USAGE_STATS_ENABLED": "0"},
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + 200
        while "Ray runtime started" not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "200")
    made = Outside(tmp_path)
    yield made
    made.stop()


class Started:
    """A run in a process of its own."""

    def __init__(self, nodes: Nodes | Outside, cache: Path, *more: str) -> None:
        self.folder = nodes.folder / "run"
        self.said = nodes.folder / "said.txt"
        settings = [
            *SMALL,
            f"executor.ray.address={nodes.address}",
            f"run_dir={self.folder}",
            f"cache_dir={cache}",
            *more,
        ]
        with open(self.said, "ab") as output:
            command = [sys.executable, "-m", "improve.run", *settings]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def until(self, there: Callable[[], bool], seconds: float = 300.0) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.1)

    def rows(self) -> int:
        """Validations of the first training that have come here."""
        metrics = self.folder / "candidates" / "000" / "metrics.csv"
        return metrics.read_text().count("\n") - 1 if metrics.exists() else 0

    def end(self) -> int:
        return self.process.wait(600)


def test_a_node_is_killed_in_the_middle_of_a_training_and_the_run_goes_on(nodes: Nodes, cache: Path) -> None:
    first, second = nodes.add(), nodes.add()
    run = Started(nodes, cache, "executor.fit_seconds=20")
    run.until(lambda: run.rows() >= 1)
    (killed,) = [node for node in (first, second) if node.busy()]
    nodes.kill(killed)
    assert run.end() == 0, run.said.read_text()
    history = History.read(run.folder)
    assert history.finished
    records = read(run.folder / JOURNAL).records
    lost = [record.data for record in records if record.kind == "lost"]
    # Before Ray knows that a node is gone it may begin the next command there, which is then begun again, too.
    assert [(each["iteration"], each["what"]) for each in lost if each["what"] == "fit"] == [(0, "fit")], lost
    assert len(lost) <= 2, lost
    trainings = [record for record in records if record.kind == "training"]
    assert len({record.key for record in trainings}) == len(trainings)
    assert all(record.data["failure"] is None for record in trainings[:1])
    (began,) = [record.data for record in records if record.kind == "run"]
    assert began["tier"] in ("T3", "T1")
    assert "on a Ray cluster" in began["hardware"]
    hidden = list(cache.rglob("hidden/*.npy"))
    assert hidden
    for node in (first, second):
        assert node.files()
        for name in node.files():
            content = (node.cache / "files" / name).read_bytes()
            assert all(path.read_bytes() != content for path in hidden)
    assert not any((second.cache if killed is first else first.cache).glob("cells/*")), "the last station cleans up"
    assert (run.folder / "best" / "weights.safetensors").exists()


def kill_a_station_and_stop(run: Started, node: Node) -> None:
    """In the middle of its first training: that begins again, and Ctrl-C then leaves nothing on the node."""
    run.until(lambda: run.rows() >= 1)
    (station,) = stations(node)
    os.kill(station, signal.SIGKILL)
    run.until(lambda: b"lost" in (run.folder / JOURNAL).read_bytes())
    run.until(lambda: run.rows() >= 1)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.said.read_text()
    deadline = time.monotonic() + 60
    while stations(node) or workers_of(node):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_worker_is_killed_and_a_run_that_is_stopped_leaves_nothing_on_the_node(nodes: Nodes, cache: Path) -> None:
    node = nodes.add()
    run = Started(nodes, cache, "executor.fit_seconds=20")
    kill_a_station_and_stop(run, node)
    again = Started(nodes, cache, "executor.fit_seconds=20")  # resumes
    assert again.end() == 0, again.said.read_text()
    assert History.read(run.folder).finished


def test_a_run_outside_of_the_cluster_trains_there_and_is_stopped_and_goes_on(outside: Outside, cache: Path) -> None:
    run = Started(outside, cache, "executor.fit_seconds=20")
    kill_a_station_and_stop(run, outside.node)
    again = Started(outside, cache, "executor.fit_seconds=20")
    assert again.end() == 0, again.said.read_text()
    assert "Traceback" not in again.said.read_text()
    records = read(again.folder / JOURNAL).records
    lost = [record.data for record in records if record.kind == "lost"]
    assert [(each["iteration"], each["what"]) for each in lost] == [(0, "fit")], lost
    assert History.read(again.folder).finished
    assert (again.folder / "best" / "weights.safetensors").exists()


# -------------------------------------------------------------------------------------- one training on several nodes


@needs_device
def test_two_nodes_of_a_cluster_learn_what_one_learns_and_reach_nothing_else(
    nodes: Nodes, cache: Path, tmp_path: Path
) -> None:
    nodes.add(), nodes.add()
    task = make_task(tmp_path / "task", cache)
    host, port = nodes.address.split(":")
    looking = f"""
import os, socket
for place in (({host!r}, {port}), ("127.0.0.1", {port}), ("192.0.2.1", 80)):
    one = socket.socket()
    one.settimeout(1)
    if one.connect_ex(place) == 0:
        raise ValueError(f"out of the sandbox to {{place}}")
print("own", [name for _, name in socket.if_nameindex()])
"""
    asked = RayConfig(num_cpus=1, address=nodes.address)
    config = ExecutorConfig(name="ray", accelerator="cpu", steps=20, num_nodes=2, ray=asked)
    connection = Connection(config, "require", lambda text: None)
    offer = connection.survey()
    assert (offer.tier, offer.nodes) == (Tier.T3, 2)
    (tmp_path / "run").mkdir()
    executor = RayExecutor(
        config, NodeSandbox(offer.tier), task, {}, tmp_path / "run", 0, lambda *_: None,
        connection=connection, hardware=offer.hardware, note=lambda kind, data: None,
    )  # fmt: skip
    with closing(executor):
        losses = {}
        for count, model in ((2, looking + honest().model), (1, honest().model)):
            executor.config = connection.config = dataclasses.replace(config, num_nodes=count)
            fit = executor.fit(1, honest().with_component("model", model))
            assert fit.failure is None, fit.failure
            losses[count] = [(row["train_loss"], row["validation_loss"]) for row in fit.rows]
            if count == 2:
                assert "own ['lo', 'nodes']" in (executor.candidate_folder(1) / "log.txt").read_text()
        assert losses[1]
        assert np.allclose(losses[2], losses[1], rtol=1e-4), losses


@needs_device
def test_a_node_of_a_training_on_two_is_killed_and_a_third_takes_its_place(nodes: Nodes, cache: Path) -> None:
    every = [nodes.add(), nodes.add(), nodes.add()]
    run = Started(nodes, cache, "executor.fit_seconds=20", "executor.num_nodes=2")
    run.until(lambda: run.rows() >= 1)
    busy = [node for node in every if node.busy()]
    assert len(busy) == 2
    nodes.kill(busy[1])
    assert run.end() == 0, run.said.read_text()
    records = read(run.folder / JOURNAL).records
    lost = [record.data for record in records if record.kind == "lost"]
    assert [(each["iteration"], each["what"]) for each in lost] == [(0, "fit")], lost
    assert next(record for record in records if record.kind == "training").data["failure"] is None
    assert (run.folder / "best" / "weights.safetensors").exists()
    alone = [sys.executable, "train.py", "--seconds", "5"]
    done = subprocess.run(alone, cwd=run.folder / "best", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_training_on_more_nodes_than_there_are_is_refused_in_a_sentence(nodes: Nodes, cache: Path) -> None:
    nodes.add()
    run = Started(nodes, cache, "executor.num_nodes=2", "executor.ray.wait_seconds=3")
    assert run.end() == 10
    said = " ".join(run.said.read_text().split())
    assert "Fewer than 2 nodes of the Ray cluster" in said
    assert "have had 1 CPUs for 3 s" in said


def stations(node: Node) -> list[int]:
    """The processes of a node's stations, by the name that Ray gives them: other clusters may be on this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named, around = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:  # it has just ended
            continue
        if named.startswith(b"ray::Station") and f"IMPROVE_NODE_CACHE={node.cache}\0".encode() in around:
            found.append(int(folder.name))
    return found


def workers_of(node: Node) -> list[str]:
    """Processes that have anything of the node's cells open or as their folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(folder / "cwd")
        except OSError:
            continue
        if place.startswith(str(node.cache / "cells")):
            found.append(place)
    return found


def test_a_cluster_that_cannot_do_it_is_refused_in_a_sentence(nodes: Nodes, cache: Path) -> None:
    nodes.add()
    asked = ("executor.ray.num_gpus=1", "executor.ray.wait_seconds=3")
    run = Started(nodes, cache, *asked)
    assert run.end() == 10
    said = " ".join(run.said.read_text().split())
    assert "has had 1 CPUs and 1 GPUs for 3 s; there are nodes with" in said
    assert "1 CPUs and 0 GPUs" in said
    assert "Traceback" not in said
    tools = nodes.folder / "tools"  # all but bubblewrap
    tools.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for tool in Path(folder).glob("*"):
            if tool.name != "bwrap" and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    nodes.add(PATH=str(tools))
    run = Started(nodes, cache, "sandbox=require")
    assert run.end() == 5
    said = " ".join(run.said.read_text().split())
    assert "a node of the Ray cluster: sandbox=require, but tier T3 does not work here" in said
    assert not (run.folder / JOURNAL).exists()
