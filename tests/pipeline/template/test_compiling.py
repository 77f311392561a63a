"""Compiled steps: they learn what plain ones learn, are compiled once, and are left where they are of no use.

`aot_eager` stands for the compiler here where the machine need not have one: it traces a step and its gradients as
torch does for any, and makes no machine code of them.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from improve.sandbox import compiler
from tests.support import template as support
from tests.support.template import components, context

STEPS = "\ndef trainer_kwargs(context):\n    return {}\n"
NETWORK = """
from template import classifier, conv_block
class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.body = nn.Sequential(conv_block(8), conv_block(8))
        self.head = classifier(context.num_classes)

    def forward(self, images):
        return self.head(self.body(images))
"""
GROWING = """
class DataModule(DataModule):
    def batch_transform(self, images, targets):
        side = 8 if self.progress < 0.5 else 12
        return torch.nn.functional.interpolate(images, side), targets
"""
HALVES = """
class Model(Model):
    def on_train_batch_start(self, batch, batch_index):
        self.body[0].requires_grad_(self.progress >= 0.5)
        self.body[0].train(self.progress >= 0.5)
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return support.train_folder(tmp_path)


@pytest.fixture
def _traced(lib: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    original = lib.torch.nn.Module.compile
    monkeypatch.setattr(lib.torch.nn.Module, "compile", functools.partialmethod(original, backend="aot_eager"))
    lib.torch.compiler.reset()


def fit(lib: SimpleNamespace, parts: Any, folder: Path, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What a training tells, and the weights that it leaves."""
    out = folder / changes.get("compile", "off")
    out.mkdir()
    events: list[dict[str, Any]] = []
    task = context(**{"steps": 24, "seed": 3, **changes})
    lib.train.fit(parts, task, folder, out, events.append)
    assert [path.name for path in out.iterdir()] == ["weights.safetensors"], "what compilers leave is removed"
    model = parts.build_model(task.replace(restoring=True))
    lib.keeping.load_weights(model, out)
    return events, dict(model.state_dict())


def compare(lib: SimpleNamespace, parts: Any, folder: Path) -> None:
    told, weights = fit(lib, parts, folder, compile="on")
    plain_told, plain = fit(lib, parts, folder, compile="off")
    assert (told[0]["compiled"], plain_told[0]["compiled"]) == ("yes", "")
    assert list(weights) == list(plain)
    for name, value in weights.items():
        assert lib.torch.allclose(value, plain[name], atol=2e-2), name
    losses = [[event["train_loss"] for event in events[1:]] for events in (told, plain_told)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-2)


@pytest.mark.slow
@pytest.mark.skipif(bool(compiler.missing()), reason="no C++ compiler")
def test_compiled_steps_learn_what_plain_ones_learn(lib: SimpleNamespace, folder: Path) -> None:
    lib.torch.compiler.reset()
    parts = components(model=NETWORK + '    views = "mirrored"\n', training=STEPS + "ema_decay = 0.9\n")
    compare(lib, parts, folder)


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("which", ["averaged", "growing", "thawing"])
def test_a_step_is_compiled_once_whatever_changes_later(lib: SimpleNamespace, folder: Path, which: str) -> None:
    """Where a later step differs it runs as it is written, and learns what it should."""
    counters = lib.torch._dynamo.utils.counters
    data = GROWING.replace("torch.nn", "__import__('torch').nn") if which == "growing" else ""
    model = NETWORK + (HALVES if which == "thawing" else '    views = "mirrored"\n')
    counters.clear()
    compare(lib, components(data=data, model=model, training=STEPS + "ema_decay = 0.9\n"), folder)
    assert counters["stats"]["unique_graphs"] == 1, "for the trial; the training uses the same"


def test_a_compiler_that_fails_costs_a_sentence(
    lib: SimpleNamespace, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Any) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(lib.torch.nn.Module, "compile", broken)
    told, weights = fit(lib, components(training=STEPS), folder, compile="on")
    assert told[0]["compiled"] == "no"
    assert capfd.readouterr().out.count("torch.compile: not used, RuntimeError: no such instruction") == 1
    _, plain = fit(lib, components(training=STEPS), folder)
    assert all(lib.torch.equal(value, plain[name]) for name, value in weights.items())


def test_compiling_that_takes_too_long_is_interrupted(lib: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    def slow() -> None:
        for _ in range(2):  # as a library that takes an error for a reason to go on
            try:
                time.sleep(60)
            except lib.compiling.TooLong:
                continue
        time.sleep(60)

    began = time.monotonic()
    assert lib.compiling.tried(slow, context(compile="auto", fit_seconds=4.0)) is None
    assert time.monotonic() - began < 30
    assert "it took longer than 0 s" in capfd.readouterr().out
    time.sleep(1.2)  # no alarm is left that would end this process


def test_a_plan_takes_the_way_by_which_more_steps_fit(lib: SimpleNamespace) -> None:
    plain = lib.plan.Plan(100, 10, 2, fitting=100, step_seconds=1.0)
    quick = lib.plan.Plan(180, 10, 2, fitting=180, step_seconds=0.5)
    chosen = lib.plan.the_longer(plain, quick, 7.0)
    assert (chosen.batches, chosen.compiled, chosen.compile_gain, chosen.compile_seconds) == (180, "yes", 1.8, 7.0)
    for slow in (lib.plan.Plan(103, 10, 2, fitting=103), None):
        kept = lib.plan.the_longer(plain, slow, 7.0)
        assert (kept.batches, kept.step_seconds, kept.compiled) == (100, 1.0, "no")


def test_it_is_not_tried_where_it_cannot_pay(lib: SimpleNamespace) -> None:
    filling, ending = lib.plan.Plan(100, 10, 2, fitting=100), lib.plan.Plan(50, 10, 2, fitting=100)
    assert [lib.plan.may_pay(filling, context(compile=mode)) for mode in lib.compiling.CHOICES] == [False, True, True]
    assert not lib.plan.may_pay(ending, context(compile="on")), "all steps that are wanted fit"
    known = {"steps_that_fit": 9, "step_seconds": 0.1, "steps_per_epoch": 10, "batch_size": 4, "compiled": "no"}
    for same in (True, False):
        reference = {**known, "same_but_training": same}
        assert lib.plan.may_pay(filling, context(compile="auto", reference=reference)) is not same
        assert lib.plan.may_pay(filling, context(compile="on", reference=reference))


@pytest.mark.usefixtures("_traced")
def test_within_a_time_limit_it_is_tried_and_said(lib: SimpleNamespace, folder: Path) -> None:
    told, _ = fit(lib, components(model=NETWORK, training=STEPS), folder, compile="on", steps=0, fit_seconds=8.0)
    assert told[0]["compiled"] in ("yes", "no")
    assert told[0]["compile_gain"] > 0
    assert told[0]["compile_seconds"] > 0


@pytest.mark.usefixtures("_traced")
def test_a_smoke_run_compiles_nothing(lib: SimpleNamespace, folder: Path) -> None:
    counters = lib.torch._dynamo.utils.counters
    counters.clear()
    lib.smoke.smoke(components(model=NETWORK), context(compile="on"), folder)
    assert counters["stats"]["unique_graphs"] == 0
