"""The recorded steps of one candidate: its check, its sources, its training and its score on the selection images.

Each goes through `Journal.once`: a resumed run finds it done and reads back what it gave.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline
from improve.execution.length import Length
from improve.execution.local import Fit, LocalExecutor
from improve.execution.predictions import Probabilities
from improve.execution.replicates import suffix
from improve.execution.warm import Key
from improve.judging.audit import audit, failure_of
from improve.judging.scoring import Answers, answers, load_predictions, save_predictions, score
from improve.pipeline import contract
from improve.pipeline.supply import Supply
from improve.record.journal import Journal
from improve.refinement import samples
from improve.refinement.guard import violation
from improve.spending.budget import Budget


@dataclass(frozen=True)
class Parent:
    """The pipeline that a candidate revises, and the iteration that it came from."""

    iteration: int
    pipeline: Pipeline


@dataclass(frozen=True)
class Again:
    """A training of the pipeline of an iteration: its first, or a replicate that a later race asked for."""

    iteration: int
    replicate: int = 0
    race: int | None = None  # the iteration whose candidate was judged meanwhile; None: after the loop

    @property
    def suffix(self) -> str:
        return suffix(self.replicate)

    def key(self, kind: str) -> str:
        return f"{kind}-{self.iteration}{self.suffix}"

    def record(self) -> dict[str, Any]:
        return {"iteration": self.iteration, "replicate": self.replicate, "race": self.race}


class Trials:
    """Carries out and records what happens to candidates in one run."""

    def __init__(
        self,
        dataset: Dataset,
        executor: LocalExecutor,
        journal: Journal,
        folder: Path,
        budget: Budget | None,
        supply: Supply | None = None,
    ) -> None:
        self.dataset, self.executor, self.journal = dataset, executor, journal
        self.folder, self.budget, self.supply = folder, budget, supply
        self.labels = dataset.labels("selection")
        self._scored: dict[str, dict[str, Any]] = {}  # `score` records, by their keys

    def check(
        self, iteration: int, attempt: int, component: str, pipeline: Pipeline, parent: Parent | None
    ) -> Failure | None:
        """The static contract, pretrained weights that have to be fetched, and the smoke run of one attempt."""
        wrong = violation(component, pipeline, parent.pipeline) if parent else None
        wrong = wrong or contract.check(pipeline) or self._weights(iteration, attempt, pipeline)

        def check() -> dict[str, Any]:
            failure = wrong or self.executor.smoke(iteration, attempt, pipeline)
            return {
                "iteration": iteration,
                "attempt": attempt,
                "component": component,
                "failure": failure and failure.record(),
            }

        return _failure(self.journal.once(f"check-{iteration}-{attempt}", "check", check))

    def _weights(self, iteration: int, attempt: int, pipeline: Pipeline) -> Failure | None:
        """See to it that the weights that the model names are here. Why they cannot be, else None."""
        wanted = self.supply.missing(pipeline.model) if self.supply else []
        if not self.supply or not wanted:
            return None
        supply = self.supply

        def progress(text: str) -> None:
            self.executor.phase(iteration, "check", text)

        def provide() -> dict[str, Any]:
            return {"iteration": iteration, "attempt": attempt, **supply.provide(wanted, progress)}

        record = self.journal.once(f"weights-{iteration}-{attempt}", "weights", provide)
        self.executor.provide(supply.adopt(record["fetched"], progress))
        return _failure(record)

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
        return self._fit(
            Again(iteration, race=iteration),
            lambda: self.executor.fit(iteration, pipeline, upcoming, sampled, reference),
        )

    def again(self, what: Again, pipeline: Pipeline, reference: Mapping[str, Any] | None) -> Answers | Failure | None:
        """Train a pipeline once more, with another seed, and score it. None if the budget has no room for that."""
        if self.budget and not self.budget.has_room(what.key("training")):
            return None
        fit = self._fit(
            what,
            lambda: self.executor.fit(what.iteration, pipeline, reference=reference, replicate=what.replicate),
        )
        return fit.failure or self._scored_and_audited(what)

    def refit(self, iteration: int, pipeline: Pipeline) -> bool:
        """Train a pipeline on all images but the test images. Whether it was: the budget had room, and it went well."""
        key = f"refit-{iteration}"
        if self.budget and not self.budget.has_room(key):
            return False

        def train() -> dict[str, Any]:
            self.dataset.verify()
            fit = self.executor.refit(iteration, pipeline)
            failure = fit.failure and fit.failure.record()
            return {"iteration": iteration, "failure": failure, "fit_seconds": fit.seconds, **fit.length.record()}

        return _failure(self.journal.once(key, "refit", train)) is None

    def _scored_and_audited(self, what: Again) -> Answers | Failure:
        """A further training counts at once, so it is audited at once."""
        given = self.score(what)
        return given if isinstance(given, Failure) else self.audit(what) or given

    def _fit(self, what: Again, carry_out: Callable[[], Fit]) -> Fit:
        def train() -> dict[str, Any]:
            fit = carry_out()
            last = fit.rows[-1] if fit.rows else {}
            best = max((row.get("validation_accuracy", 0.0) for row in fit.rows), default=None)
            return {
                **what.record(),
                "failure": fit.failure and fit.failure.record(),
                "fit_seconds": fit.seconds,
                "limit_share": round(fit.seconds / self.executor.config.fit_seconds, 3),
                **fit.length.record(),
                "train_accuracy": last.get("train_accuracy"),
                "validation_accuracy": best,
                "rows": list(fit.rows),
                **samples.keep(fit.samples, self.dataset, self.folder, what.iteration),
            }

        record = self.journal.once(what.key("training"), "training", train)
        return Fit(_failure(record), record["fit_seconds"], tuple(record["rows"]), Length.from_record(record))

    def score(self, what: Again) -> Answers | Failure:
        """The answers of a training on the selection images, scored against the hidden labels."""
        file = f"predictions/selection-{what.iteration:03d}{what.suffix}.npy"

        def predict() -> dict[str, Any]:
            self.dataset.verify()
            began = time.monotonic()
            rows = self.dataset.counts["selection"]
            given = self.executor.predict(what.iteration, "predict", rows, what.replicate)
            seconds = round(time.monotonic() - began, 3)
            if isinstance(given, Failure):
                return {**what.record(), "failure": given.record()}
            result = score(given, self.labels)
            (self.folder / file).parent.mkdir(exist_ok=True)
            return {
                **what.record(),
                "failure": None,
                **dataclasses.asdict(result),
                "accuracy": result.accuracy,
                "predictions": file,
                "sha256": save_predictions(self.folder / file, given),
                "predict_seconds": seconds,
            }

        record = self._scored[what.key("score")] = self.journal.once(what.key("score"), "score", predict)
        return _failure(record) or answers(load_predictions(self.folder / file, record["sha256"]))

    def selected(self, iteration: int, replicate: int) -> Probabilities:
        """What a training that has a score predicts for the selection images, as on record."""
        record = self._scored[Again(iteration, replicate).key("score")]
        return load_predictions(self.folder / record["predictions"], record["sha256"])

    def audit(self, what: Again) -> Failure | None:
        """Why the score of a training cannot be used; None if its answers depend on their own images alone."""
        scored = self._scored[what.key("score")]

        def check() -> dict[str, Any]:
            given = load_predictions(self.folder / scored["predictions"], scored["sha256"])
            found = audit(self.executor, self.dataset, "selection", what.iteration, what.replicate, given)
            return {**what.record(), **found}

        return failure_of(self.journal.once(what.key("audit"), "audit", check))


def _failure(record: Mapping[str, Any]) -> Failure | None:
    return Failure.from_record(record["failure"]) if record["failure"] else None
