"""The recorded steps of one candidate: its check, its sources, its training and its score on the selection images.

Each goes through `Journal.once`: a resumed run finds it done and reads back what it gave.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline
from improve.execution.length import Length
from improve.execution.local import Fit, LocalExecutor
from improve.execution.warm import Key
from improve.judging.scoring import Answers, answers, load_predictions, save_predictions, score
from improve.pipeline import contract
from improve.record.journal import Journal
from improve.refinement import samples
from improve.refinement.guard import violation
from improve.spending.budget import Budget


@dataclass(frozen=True)
class Parent:
    """The pipeline that a candidate revises, and the iteration that it came from."""

    iteration: int
    pipeline: Pipeline


class Trials:
    """Carries out and records what happens to candidates in one run."""

    def __init__(
        self, dataset: Dataset, executor: LocalExecutor, journal: Journal, folder: Path, budget: Budget | None
    ) -> None:
        self.dataset, self.executor, self.journal = dataset, executor, journal
        self.folder, self.budget = folder, budget
        self.labels = dataset.labels("selection")

    def check(
        self, iteration: int, attempt: int, component: str, pipeline: Pipeline, parent: Parent | None
    ) -> Failure | None:
        """The static contract and the smoke run of one attempt."""

        def check() -> dict[str, Any]:
            failure = violation(component, pipeline, parent.pipeline) if parent else None
            failure = failure or contract.check(pipeline)
            if failure is None:
                failure = self.executor.smoke(iteration, attempt, pipeline)
            return {
                "iteration": iteration,
                "attempt": attempt,
                "component": component,
                "failure": failure and failure.record(),
            }

        return _failure(self.journal.once(f"check-{iteration}-{attempt}", "check", check))

    def candidate(self, iteration: int, pipeline: Pipeline, parent: Parent | None) -> None:
        """Write its sources where the training finds them."""
        changed = pipeline.changed(parent.pipeline) if parent else COMPONENTS
        folder = self.executor.candidate_folder(iteration)
        self.executor.write(iteration, pipeline)
        self.journal.once(
            f"candidate-{iteration}",
            "candidate",
            lambda: {
                "iteration": iteration,
                "parent": parent.iteration if parent else None,
                "changed": list(changed),
                "hashes": pipeline.hashes(),
                "folder": str(folder.relative_to(self.folder)),
            },
        )

    def fit(
        self,
        iteration: int,
        pipeline: Pipeline,
        upcoming: Sequence[Key],
        sampled: np.ndarray | None,
        reference: Mapping[str, Any] | None = None,
    ) -> Fit:
        """Train it; `upcoming`, `sampled` and `reference` as for `LocalExecutor.fit`."""
        if self.budget:
            self.budget.before_training(f"the training of iteration {iteration}")

        def train() -> dict[str, Any]:
            fit = self.executor.fit(iteration, pipeline, upcoming, sampled, reference)
            last = fit.rows[-1] if fit.rows else {}
            best = max((row.get("validation_accuracy", 0.0) for row in fit.rows), default=None)
            return {
                "iteration": iteration,
                "failure": fit.failure and fit.failure.record(),
                "fit_seconds": fit.seconds,
                "limit_share": round(fit.seconds / self.executor.config.fit_seconds, 3),
                **fit.length.record(),
                "train_accuracy": last.get("train_accuracy"),
                "validation_accuracy": best,
                "rows": list(fit.rows),
                **samples.keep(fit.samples, self.dataset, self.folder, iteration),
            }

        record = self.journal.once(f"training-{iteration}", "training", train)
        return Fit(_failure(record), record["fit_seconds"], tuple(record["rows"]), Length.from_record(record))

    def score(self, iteration: int) -> Answers | Failure:
        """Its answers on the selection images, scored against the hidden labels."""
        file = f"predictions/selection-{iteration:03d}.npy"

        def predict() -> dict[str, Any]:
            self.dataset.verify()
            began = time.monotonic()
            given = self.executor.predict(iteration, "predict", self.dataset.counts["selection"])
            seconds = round(time.monotonic() - began, 3)
            if isinstance(given, Failure):
                return {"iteration": iteration, "failure": given.record()}
            result = score(given, self.labels)
            (self.folder / file).parent.mkdir(exist_ok=True)
            return {
                "iteration": iteration,
                "failure": None,
                **dataclasses.asdict(result),
                "accuracy": result.accuracy,
                "predictions": file,
                "sha256": save_predictions(self.folder / file, given),
                "predict_seconds": seconds,
            }

        record = self.journal.once(f"score-{iteration}", "score", predict)
        return _failure(record) or answers(load_predictions(self.folder / file, record["sha256"]))


def _failure(record: Mapping[str, Any]) -> Failure | None:
    return Failure.from_record(record["failure"]) if record["failure"] else None
