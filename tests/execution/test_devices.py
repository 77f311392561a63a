"""One training in several processes, as it is on several GPUs: in the sandbox, on CPU cores."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from improve.agents.brief import shown_context
from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset, prepare
from improve.domain import Pipeline, Reason
from improve.errors import ConfigError, SandboxError
from improve.execution import machine
from improve.execution.fit import Fit
from improve.execution.local import LocalExecutor
from improve.pipeline.export import FILES, TEMPLATE, WEIGHTS
from improve.sandbox import Sandbox, Tier, choose
from improve.sandbox.guard import seccomp
from improve.sandbox.guarded import LandlockSandbox
from tests.support import template as support
from tests.support.bench import executor, honest, make_task
from tests.support.together import CONVOLUTIONS, TRAINING, resnet_weights, thawing

SHIFTS = """
from template import ImageDataModule, RandomShift

class DataModule(ImageDataModule):
    def batch_transform(self, images, targets):
        return RandomShift(1)(images), targets
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    found = choose("auto")
    if found.tier is Tier.T1:
        pytest.skip("tier T1 has no network of its own")
    return found


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture
def made(task: Dataset, sandbox: Sandbox, tmp_path: Path) -> Iterator[LocalExecutor]:
    with closing(executor(task, sandbox, tmp_path, devices=2, steps=40)) as both:
        yield both


def trained(executor: LocalExecutor, pipeline: Pipeline, **changes: Any) -> Fit:
    executor.config = dataclasses.replace(executor.config, **changes)
    fit = executor.fit(1, pipeline)
    assert fit.failure is None, fit.failure.detail
    return fit


def test_two_processes_learn_what_one_learns(made: LocalExecutor) -> None:
    """Without anything random in a step, the two parts of each batch give the gradient of the whole."""
    losses = {}
    for devices in (2, 1):
        fit = trained(made, honest(), devices=devices)
        losses[devices] = [(row["train_loss"], row["validation_loss"]) for row in fit.rows]
        assert fit.length.batch_size == 16
        assert fit.length.steps == fit.length.planned_steps == 13
    assert np.allclose(losses[2], losses[1], rtol=1e-4), losses
    assert isinstance(made.predict(1, "predict", made.dataset.counts["selection"]), np.ndarray)
    assert {path.name for path in made.work_folder(1).iterdir()} == {WEIGHTS}


@pytest.mark.slow
def test_two_processes_reach_what_one_reaches_on_digits_within_luck(
    sandbox: Sandbox, cache: Path, tmp_path: Path
) -> None:
    config = config_from(["dataset=digits"])
    digits = prepare(config.dataset, cache, lambda text: None)
    labels, pipeline = digits.labels("selection"), Pipeline(SHIFTS, CONVOLUTIONS, TRAINING)
    reached: dict[int, list[float]] = {1: [], 2: []}
    for devices, accuracies in reached.items():
        (tmp_path / str(devices)).mkdir()
        with closing(executor(digits, sandbox, tmp_path / str(devices), devices=devices, steps=300)) as one:
            for seed in range(3):
                one.seed = seed
                trained(one, pipeline)
                given = one.predict(1, "predict", len(labels))
                assert isinstance(given, np.ndarray), given
                accuracies.append(float((given.argmax(axis=1) == labels).mean()))
    luck = 2 * np.sqrt(sum(np.var(values, ddof=1) / 3 for values in reached.values())) + 2 / len(labels)
    assert min(reached[1]) > 0.7
    assert abs(np.mean(reached[2]) - np.mean(reached[1])) < luck + 0.01, reached


@pytest.mark.slow
def test_two_processes_agree_on_a_plan_by_time_on_features_and_on_layers_that_thaw(
    made: LocalExecutor, tmp_path: Path
) -> None:
    made.weights = resnet_weights(tmp_path)
    for pipeline in thawing():
        fit = trained(made, pipeline, steps=None, fit_seconds=12)
        assert fit.length.steps > 20
        assert fit.length.steps_that_fit >= fit.length.steps
        assert fit.seconds < 14


def test_what_fails_in_one_process_is_told_once_and_ends_all(made: LocalExecutor) -> None:
    failing = "\n    def on_train_batch_end(self, outputs, batch, index):\n        import torch.distributed as dist\n"
    failing += (
        "        if dist.get_rank() == 1 and index == 3:\n            raise ValueError('the second has had enough')\n"
    )
    fit = made.fit(1, honest().with_component("model", honest().model + failing))
    assert fit.failure is not None
    assert fit.failure.reason is Reason.CRASH
    assert fit.failure.component == "model"
    assert "the second has had enough" in fit.failure.message
    assert fit.seconds < 30
    alone = made.fit(2, honest().with_component("training", honest().training + "\nbatch_size = 3\n"))
    assert alone.failure is not None
    assert "batch_size must be at least 4: it is divided among 2 devices" in alone.failure.message


def test_only_sandboxes_of_such_trainings_have_a_network_and_nothing_is_in_it(
    made: LocalExecutor, sandbox: Sandbox
) -> None:
    tries = """
import socket, torch
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
for kind, address in ((socket.SOCK_STREAM, ("192.0.2.1", 80)), (socket.SOCK_DGRAM, ("192.0.2.1", 53))):
    try:
        socket.socket(socket.AF_INET, kind).connect(address)
    except OSError as error:
        print(error.errno)
    else:
        raise ValueError("out")
print([name for _, name in socket.if_nameindex()])
"""
    looking = honest().with_component("model", tries + honest().model)
    if sandbox.tier is Tier.T3:
        assert made.fit(1, looking).failure is None
        printed = (made.candidate_folder(1) / "log.txt").read_text()
        assert "['lo']" in printed
    made.config = dataclasses.replace(made.config, devices=1)
    failure = made.fit(2, looking).failure
    assert (failure is not None) == (sandbox.tier is Tier.T3)
    assert seccomp.program(supervised=False) != seccomp.program(supervised=False, loopback=True)


@pytest.mark.slow
def test_the_exported_pipeline_trains_in_two_processes(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.mkdir()
    for name in FILES:
        shutil.copyfile(TEMPLATE / name, best / name)
    for name, source in (("data", support.DATA), ("model", support.MODEL), ("training", support.TRAINING)):
        (best / f"{name}.py").write_text(source)
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (160, 8, 8, 1), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(160, dtype=np.int64) % 4)
    values = support.context(fit_seconds=30.0, train_images=160).as_dict() | {"devices": 2}
    (best / "context.json").write_text(json.dumps({**values, "train_data": str(tmp_path)}))
    done = subprocess.run(
        [sys.executable, "train.py", "--data", str(tmp_path)], cwd=best, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("event epoch") == 2, done.stdout  # by one of the two
    assert (best / "trained" / WEIGHTS).exists()


# -------------------------------------------------------------------------------------------- what is said and refused


def test_the_training_engineer_is_told_what_a_batch_is(made: LocalExecutor) -> None:
    context = made.context()
    told = shown_context(context, {})
    assert "batch_size is that of all together" in " ".join(told.split())
    assert "ema_decay" not in told
    spread = shown_context({**context, "strategy": "fsdp", "accelerator": "gpu"}, {})
    assert "ema_decay and ema_horizon do nothing here" in " ".join(spread.split())
    assert "batch_size" not in shown_context({**context, "devices": 1}, {})


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="tier T1 has none"):
        machine.check_devices(ExecutorConfig(devices=2), LandlockSandbox())
    with pytest.raises(ConfigError, match="fsdp is for GPUs"):
        machine.check_devices(ExecutorConfig(devices=2, strategy="fsdp", accelerator="cpu"), sandbox)
    monkeypatch.setattr(machine, "gpu_names", lambda: ("A",) * 3)
    with pytest.raises(ConfigError, match="this machine has 3 GPUs"):
        machine.check_devices(ExecutorConfig(devices=4), sandbox)
    machine.check_devices(ExecutorConfig(devices=3, strategy="fsdp"), sandbox)
    assert "2 of 3 GPUs (A)" in machine.description(ExecutorConfig(devices=2))
    with pytest.raises(ConfigError, match=r"executor\.ray\.num_gpus=2 and executor\.devices=1"):
        check(config_from(["executor=ray", "executor.ray.num_gpus=2"]))
