"""A run's loop without sandboxes: real prompts, replies, journal and verdicts; only the trainings are made up.

A pipeline's accuracy is a function of its sources, so that every run of it gives the same answers. What a training and
a sandbox really do is tested elsewhere; here it is what the strategies ask for, and what they make of the scores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from improve import strategies
from improve.agents.prompts import PromptSet
from improve.agents.team import Team
from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import Config
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline, Split
from improve.execution.fit import Fit
from improve.execution.length import Length
from improve.execution.local import LocalExecutor
from improve.execution.machine import slots
from improve.execution.warm import Key
from improve.judging.rules import configured
from improve.record.journal import Journal
from improve.refinement.ending import conclude
from improve.refinement.loop import refine as refine_all
from improve.refinement.side_by_side import goes_side_by_side
from improve.refinement.trials import Trials
from improve.refinement.workshop import Workshop
from improve.sandbox import choose
from improve.session.session import brief_of
from improve.spending.budget import Budget, Training
from tests.support.models import live_models

ROWS = ({"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.9, "validation_accuracy": 0.8},)


@dataclass
class MadeExecutor(LocalExecutor):
    """Writes candidates where a training would read them; `fitted` and `tested` are the iterations it was asked for."""

    fitted: list[int] = field(default_factory=list)
    tested: list[int] = field(default_factory=list)
    references: list[Mapping[str, Any] | None] = field(default_factory=list)
    again: list[tuple[int, int]] = field(default_factory=list)  # iterations and replicates

    def smoke(self, iteration: int, attempt: int, pipeline: Pipeline) -> Failure | None:
        return None

    def fit(
        self,
        iteration: int,
        pipeline: Pipeline,
        upcoming: Sequence[Key] = (),
        sampled: np.ndarray | None = None,
        reference: Mapping[str, Any] | None = None,
        replicate: int = 0,
    ) -> Fit:
        if replicate:
            self.again.append((iteration, replicate))
        else:
            self.fitted.append(iteration)
        self.references.append(reference)
        return Fit(None, 1.0, ROWS, Length(10, 10, 50, 10, 64, 0.01))

    def predict(
        self, iteration: int, kind: Literal["predict", "audit"], rows: int, replicate: int = 0, alone: int = 0
    ) -> np.ndarray | Failure:
        if kind == "predict":
            return self._answers(iteration, self.dataset.labels("selection"), replicate)
        given: dict[bytes, np.ndarray] = {}
        splits: tuple[Split, ...] = ("selection", "test")
        for split in splits:
            images = np.load(self.dataset.inputs_folder(split) / "images.npy")
            answers = self._answers(iteration, self.dataset.labels(split), replicate)
            given |= {image.tobytes(): row for image, row in zip(images, answers, strict=True)}
        return np.stack([given[image.tobytes()] for image in np.load(self.audit_folder(iteration) / "images.npy")])

    def predict_test(self, iteration: int, replicate: int = 0) -> np.ndarray | Failure:
        self.tested.append(iteration)
        return self._answers(iteration, self.dataset.labels("test"), replicate)

    def expect(self, key: Key) -> None:
        """Nothing is started ahead."""

    def _answers(self, iteration: int, labels: np.ndarray, replicate: int = 0) -> np.ndarray:
        """Probabilities that are right for a share of the images which depends on the sources."""
        sources = b"".join((self.candidate_folder(iteration) / f"{name}.py").read_bytes() for name in COMPONENTS)
        digest = hashlib.sha256(sources).digest()
        right = np.random.default_rng([digest[0], replicate % 99]).random(len(labels)) < 0.4 + 0.5 * digest[1] / 255
        chosen = np.where(right, labels, (labels + 1) % len(self.dataset.class_names))
        return np.asarray(np.eye(len(self.dataset.class_names), dtype=np.float32)[chosen])


@dataclass
class Refined:
    """What a made run did: its workshop, and its executor with what it was asked for."""

    folder: Path
    workshop: Workshop
    executor: MadeExecutor
    ended: dict[str, str]  # why its loop did


def config_of(*overrides: str) -> Config:
    config = config_from(["dataset=digits", "executor.threads=1", *overrides])
    check(config)
    return config


def refine(folder: Path, dataset: Dataset, *overrides: str) -> Refined:
    """Carry out (or go on with) a run in `folder`, but for its `run` and `finished` records, export and page."""
    config = config_of(*overrides)
    folder.mkdir(parents=True, exist_ok=True)
    candidates = config.strategy.candidates
    executor = MadeExecutor(
        config.executor, choose("auto"), dataset, {}, folder, config.seed, lambda iteration, stage, detail: None,
        slots=slots(config.executor, candidates),
    )  # fmt: skip
    prompts = PromptSet(config.prompts.name, config.prompts.path)
    rule = configured(config.acceptance, config.strategy.iterations, candidates)
    with closing(Journal(folder)) as journal, closing(executor):
        strategy = strategies.find(config.strategy.name)
        brief = brief_of(dataset, executor, strategy)
        training = Training(60.0, 0, 1.0, executor.slots)
        budget = (
            Budget(config.budget, journal, training, time.monotonic()) if any(vars(config.budget).values()) else None
        )
        team = Team(live_models(config), prompts, journal, folder, brief, lambda iteration, stage, detail: None, budget)
        trials = Trials(
            dataset, executor, journal, folder, budget, side_by_side=goes_side_by_side(config.executor, candidates)
        )
        workshop = Workshop(strategy, config.strategy, rule, team, trials)
        ended = refine_all(workshop)
        conclude(workshop, config.finish)
    return Refined(folder, workshop, executor, ended)
