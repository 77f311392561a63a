"""A small task, honest components, and an executor that can use one pair of sandboxes for many iterations."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from improve.config.schema import DatasetConfig, ExecutorConfig
from improve.datasets import Dataset, prepare
from improve.domain import Failure, Pipeline, Reason
from improve.execution.fit import Fit
from improve.execution.local import LocalExecutor
from improve.judging.audit import audit, failure_of
from improve.judging.scoring import Answers, answers
from improve.sandbox import Sandbox
from tests.support import paths

ATTACKS = paths.ATTACKS / "pipelines"
CLASSES, SIDE = 4, 8
COUNTS = {"train": 240, "val": 200, "test": 40}


def make_task(root: Path, cache: Path) -> Dataset:
    """Grey squares with one quarter a little brighter: the class. Noise hides it often enough to leave errors."""
    generator = np.random.default_rng(0)
    for part, total in COUNTS.items():
        for row in range(total):
            label = row % CLASSES
            image = generator.normal(100, 50, (SIDE, SIDE))
            top, left = 4 * (label // 2), 4 * (label % 2)
            image[top : top + 4, left : left + 4] += 25
            folder = root / part / "abcd"[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{row:03d}.png")
    config = DatasetConfig(name="quarters", source="folder", path=str(root))
    return prepare(config, cache, lambda text: None)


def honest() -> Pipeline:
    return Pipeline(*((ATTACKS / f"_{name}.py").read_text() for name in ("data", "model", "training")))


def attacking(name: str) -> Pipeline:
    """The honest pipeline with an attack added to one of its components."""
    component = header(name)["COMPONENT"]
    return honest().with_component(
        component, honest().source(component) + "\n\n" + (ATTACKS / f"{name}.py").read_text()
    )


def header(attack: str) -> dict[str, Any]:
    """What an attack says of itself: the component it is added to, and what is expected."""
    found = {}
    for node in ast.parse((ATTACKS / f"{attack}.py").read_text()).body:
        name = node.targets[0].id if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) else ""
        if name in ("COMPONENT", "EXPECT", "HANGS"):
            found[name] = ast.literal_eval(node.value)
    return found


def executor(dataset: Dataset, sandbox: Sandbox, folder: Path, **options: Any) -> LocalExecutor:
    config = ExecutorConfig(threads=1, accelerator="cpu", **options)
    return LocalExecutor(config, sandbox, dataset, {}, folder, 0, lambda iteration, stage, detail: None)


@dataclass
class Bench(LocalExecutor):
    """An executor whose trainings all have the same seed: an attack without effect leaves the answers as they were."""

    def context(self, phase: str = "") -> dict[str, Any]:
        return super().context("0 fit" if phase.endswith(" fit") else phase)


@dataclass
class Result:
    """How far a pipeline came. `outcome` is "scored", or the stage and the reason at which it failed."""

    outcome: str
    fit: Fit
    failure: Failure | None = None
    given: Answers | None = None


def carry_out(executor: LocalExecutor, iteration: int, pipeline: Pipeline) -> Result:
    """Train, predict, audit: what the strategies do with a candidate that has passed its checks."""
    fit = executor.fit(iteration, pipeline)
    if fit.failure:
        return Result(f"fit: {fit.failure.reason.value}", fit, fit.failure)
    predicted = executor.predict(iteration, "predict", executor.dataset.counts["selection"])
    if isinstance(predicted, Failure):
        return Result(f"predict: {predicted.reason.value}", fit, predicted)
    given = answers(predicted)
    flagged = failure_of(audit(executor, executor.dataset, "selection", iteration, 0, predicted))
    if flagged:
        assert flagged.reason is Reason.PREDICTIONS
        return Result(f"audit: {flagged.reason.value}", fit, flagged, given)
    return Result("scored", fit, None, given)
