"""Trainings whose steps are compiled, in the sandboxes: they learn what others learn, and see a compiler."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset
from improve.errors import ConfigError
from improve.execution import machine
from improve.execution.length import Length
from improve.sandbox import Sandbox, Tier, choose, compiler
from improve.sandbox.guarded import LandlockSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from tests.support.bench import executor, honest, make_task

needs_compiler = pytest.mark.skipif(bool(compiler.missing()), reason="no C++ compiler")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("tier", [Tier.T3, Tier.T1])
def test_a_compiled_training_learns_what_a_plain_one_learns(tier: Tier, task: Dataset, tmp_path: Path) -> None:
    sandbox: Sandbox = BubblewrapSandbox() if tier is Tier.T3 else LandlockSandbox()
    if choose("auto").tier is not tier and (tier is Tier.T3 or sandbox.missing()):
        pytest.skip(f"no {tier.name} here")
    losses = {}
    for mode in ("on", "off"):
        with closing(executor(task, sandbox, tmp_path, compile=mode, steps=40, fit_seconds=300.0)) as made:
            fit = made.fit(1, honest())
            assert fit.failure is None, fit.failure.detail
            log = (made.candidate_folder(1) / "log.txt").read_text()
            assert fit.length.compiled == ("yes" if mode == "on" else ""), log
            losses[mode] = [row["train_loss"] for row in fit.rows]
            assert isinstance(made.predict(1, "predict", task.counts["selection"]), np.ndarray)
    assert losses["on"] == pytest.approx(losses["off"], abs=0.02)
    assert not [path for path in tmp_path.rglob("*") if "inductor" in path.name or path.name == "compiled"]


@needs_compiler
def test_only_trainings_that_may_be_compiled_see_a_compiler(task: Dataset, tmp_path: Path) -> None:
    for mode, seen in (("on", True), ("off", False)):
        with closing(executor(task, choose("auto"), tmp_path, compile=mode, steps=2)) as made:
            looked = {}
            for kind in ("fit", "smoke", "predict"):
                found: list[str] = []
                with closing(made._open(kind, 1)) as cell:  # type: ignore[arg-type]
                    command = {"command": "look", "paths": ["/usr/bin/g++"], "token": ""}
                    outcome = cell.run(command, 60.0, lambda event, found=found: found.extend(event.get("paths", [])))  # type: ignore[misc]
                assert outcome.failure is None
                looked[kind] = bool(found)
            assert looked == {"fit": seen, "smoke": False, "predict": False}


def test_a_trial_is_made_only_where_a_vain_one_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "missing", lambda: "")
    long = ExecutorConfig(fit_seconds=machine.COMPILE_FROM)
    assert machine.compile_mode(long) == "auto"
    changes = ({"fit_seconds": 60.0}, {"steps": 100}, {"devices": 2}, {"name": "ray"}, {"compile": "off"})
    assert {machine.compile_mode(dataclasses.replace(long, **change)) for change in changes} == {"off"}
    assert machine.compile_mode(ExecutorConfig(compile="on", steps=3)) == "on"
    monkeypatch.setattr(compiler, "missing", lambda: "g++")
    assert machine.compile_mode(long) == "off"


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "missing", lambda: "g++")
    with pytest.raises(ConfigError, match=r"executor\.compile=on needs g\+\+") as refused:
        machine.check_compiler(ExecutorConfig(compile="on"))
    assert refused.value.fix == "apt-get install g++"
    machine.check_compiler(ExecutorConfig(compile="auto"))
    with pytest.raises(ConfigError, match="on one device of this machine"):
        machine.check_compiler(ExecutorConfig(compile="on", devices=2))


def test_what_a_training_says_of_compiling_is_believed_in_part() -> None:
    told = Length.told({"compiled": "yes", "compile_gain": 1.8, "compile_seconds": 12.0})
    assert (told.compiled, told.compile_gain, told.compile_seconds) == ("yes", 1.8, 12.0)
    odd = Length.told({"compiled": ["yes"], "compile_gain": "NaN", "compile_seconds": -1})
    assert (odd.compiled, odd.compile_gain, odd.compile_seconds) == ("", 0.0, 0.0)
    old = {key: value for key, value in told.record().items() if not key.startswith("compile")}
    assert Length.from_record(old).compiled == ""
