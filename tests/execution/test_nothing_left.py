"""Each attempt and each phase starts from nothing: what one of them leaves, no later one finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from improve.datasets import Dataset
from improve.domain import Failure, Pipeline
from improve.execution import machine
from improve.execution.fit import Samples
from improve.pipeline.export import WEIGHTS
from improve.sandbox import Sandbox
from improve.sandbox.guarded import LandlockSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from tests.support.bench import Bench, executor, honest, make_task

SANDBOXES: dict[str, Callable[[], Sandbox]] = {"T3": BubblewrapSandbox, "T1": LandlockSandbox}
# Leaves files, shared memory, a patched library and a daemon, which goes on leaving files.
LEAVE = """
import os, sys, time, tempfile, torch
from pathlib import Path

PLACES = [tempfile.gettempdir(), "/dev/shm", os.getcwd(), *sys.path[:3], *map(str, Path(__file__).parents[:4])]

def leave(more=()):
    torch.left_behind = True
    for place in [*PLACES, *more]:
        try:
            Path(place, "left_behind").write_text(str(os.getpid()))
        except OSError:
            continue
    if os.fork() == 0:
        os.setsid()
        for descriptor in range(3):
            os.close(descriptor)
        while True:
            time.sleep(0.02)
            for place in [*PLACES, *more]:
                try:
                    Path(place, "left_behind").write_text(str(os.getpid()))
                except OSError:
                    continue

def look(more=()):
    found = [place for place in [*PLACES, *more] if Path(place, "left_behind").exists()]
    for place in map(Path, PLACES):
        try:
            found += [str(path) for depth in ("*", "*/*") for path in place.glob(f"{depth}/left_behind")]
        except OSError:
            continue
    if hasattr(torch, "left_behind"):
        found.append("torch")
    for name in map(str, range(1, 99)):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/cwd").endswith("pipeline") and int(name) < os.getppid():
                found.append(f"process {name}")
        except OSError:
            continue
    if found:
        raise RuntimeError(f"found {found}")
"""
IN_TRAINING = """
class Model(Model):
    def on_fit_start(self):
        DO([self.trainer.default_root_dir])
"""
FAIL = """
class Model(Model):
    def on_fit_end(self):
        raise RuntimeError("as planned")
"""
IN_PREDICTION = """
class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            DO()
        return super().forward(images)
"""
IN_DATA = """
class DataModule(DataModule):
    def attach(self, folder):
        super().attach(folder)
        DO()
"""


def doing(component: str, *added: str, what: str) -> Pipeline:
    text = "\n".join(part.replace("DO", what) for part in added)
    return honest().with_component(component, f"{honest().source(component)}\n{LEAVE}\n{text}")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture(scope="module", params=SANDBOXES)
def made(request: pytest.FixtureRequest, task: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    plain = executor(task, SANDBOXES[request.param](), tmp_path_factory.mktemp("run"))
    bench = Bench(plain.config, plain.sandbox, task, {}, plain.folder, 0, plain.phase)
    yield bench
    bench.close()
    assert not list(Path("/dev/shm").glob("left_behind"))


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)


def test_the_traces_would_be_found(made: Bench) -> None:
    """Proof that the tests below can fail: within one phase both sides meet."""
    both = doing("model", IN_TRAINING, IN_TRAINING.replace("DO", "super().on_fit_start(); DO"), what="look")
    both = both.with_component("model", both.model.replace("look([self", "leave([self", 1))
    failure = made.fit(0, both).failure
    assert failure is not None
    assert "torch" in failure.message


def test_an_attempt_that_is_rejected_leaves_nothing_to_the_training(made: Bench) -> None:
    failure = made.smoke(1, 0, doing("model", IN_TRAINING, FAIL, what="leave"))
    assert failure is not None
    assert "as planned" in failure.message
    assert made.smoke(1, 1, doing("model", IN_TRAINING, what="look")) is None
    made.smoke(1, 2, doing("model", IN_TRAINING, what="leave"))  # may fail: its daemon writes to what it removes
    assert made.fit(1, doing("model", IN_TRAINING, what="look")).failure is None


def test_a_training_leaves_its_weights_and_nothing_else(made: Bench) -> None:
    rows = np.arange(4)
    source = doing("data", IN_DATA, what="look").data
    fit = made.fit(2, doing("model", IN_TRAINING, what="leave"), sampled=rows)
    assert fit.failure is None
    assert sorted(path.name for path in made.work_folder(2).iterdir()) == [WEIGHTS]
    made.write(2, doing("model", IN_PREDICTION, what="look").with_component("data", source))
    given = made.predict(2, "predict", made.dataset.counts["selection"])
    assert not isinstance(given, Failure), given
    shown: Samples = made._samples(2, rows)
    assert not shown.problem


def test_a_prediction_leaves_nothing_to_the_next_one_and_to_later_trainings(made: Bench) -> None:
    assert made.fit(3, honest()).failure is None
    made.write(3, doing("model", IN_PREDICTION, what="leave"))
    assert not isinstance(made.predict(3, "predict", made.dataset.counts["selection"]), Failure)
    made.write(3, doing("model", IN_PREDICTION, what="look"))
    assert not isinstance(made.predict(3, "predict", made.dataset.counts["selection"]), Failure)
    assert made.fit(4, doing("model", IN_TRAINING, what="look")).failure is None


def test_places_go_with_their_cells(made: Bench) -> None:
    assert not list((made.folder / "cells").iterdir())
