"""The recorded steps of one candidate: its check, its sources, its training and its score on the selection images.

Each goes through `Journal.once`: a resumed run finds it done and reads back what it gave.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline
from improve.execution.fit import Fit
from improve.execution.length import Length
from improve.execution.local import LocalExecutor
from improve.execution.predictions import Probabilities
from improve.execution.replicates import suffix, training_stage
from improve.execution.warm import Key
from improve.judging.audit import audit, failure_of
from improve.judging.scoring import Answers, answers, load_predictions, save_predictions, score
from improve.pipeline import contract
from improve.pipeline.supply import Supply
from improve.record.journal import Journal
from improve.refinement import samples
from improve.refinement.guard import violation
from improve.refinement.side_by_side import Held, threads
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

    @property
    def predictions(self) -> str:
        """The file of what it predicts for the selection images, below the run's folder."""
        return f"predictions/selection-{self.iteration:03d}{self.suffix}.npy"

    def key(self, kind: str) -> str:
        return f"{kind}-{self.iteration}{self.suffix}"

    def record(self) -> dict[str, Any]:
        return {"iteration": self.iteration, "replicate": self.replicate, "race": self.race}


@dataclass(frozen=True)
class Wanted:
    """A training to be made; `upcoming`, `sampled` and `reference` as for `LocalExecutor.fit`. `called`: by people."""

    what: Again
    called: str
    pipeline: Pipeline
    reference: Mapping[str, Any] | None = None
    upcoming: Sequence[Key] = ()
    sampled: np.ndarray | None = None


@dataclass(frozen=True)
class Trained:
    """What a training came to, and its answers on the selection images, or why there are none."""

    fit: Fit
    answers: Answers | Failure


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
        side_by_side: bool = False,
    ) -> None:
        """`side_by_side`: whether trainings that do not wait for each other are begun together, in as many slots as
        the executor has; by the configuration alone, since it decides what is recorded."""
        self.dataset, self.executor, self.journal = dataset, executor, journal
        self.folder, self.budget, self.supply = folder, budget, supply
        self.labels, self.side_by_side = dataset.labels("selection"), side_by_side
        self.held = Held(folder)
        self._batches = 0
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

    def train(self, wanted: Sequence[Wanted]) -> list[Trained | None]:
        """Train and score these: one after the other, or as many at a time as there are slots. None: no room for it.

        Where a first training has no room, and no other goes on beside it, this raises as `Budget.before_training`. A
        further training counts at once, so it is audited at once.
        """
        if not self.side_by_side:
            return [self._alone(one) if self._has_room(one) else None for one in wanted]
        begun = self._begun(wanted)
        made = self._together(begun)
        audited = [self._audited(one.what, trained) for one, trained in zip(begun, made, strict=True)]
        return [*audited, *[None] * (len(wanted) - len(begun))]

    def require_room(self, called: str) -> None:
        """Raises as `Budget.before_training` does, for the first training of the candidate that is called so."""
        if self.budget:
            self.budget.before_training(f"the training of {called}")

    def _has_room(self, one: Wanted) -> bool:
        if one.what.replicate:
            return self.budget is None or self.budget.has_room(one.what.key("training"))
        self.require_room(one.called)
        return True

    def _begun(self, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        """Those that there is room for, which is recorded: a resumed run cannot tell what there was room for."""
        if not wanted:
            return wanted
        least = 0
        if not wanted[0].what.replicate:
            self.require_room(wanted[0].called)
            least = 1

        def choose() -> dict[str, Any]:
            count = max(least, self.budget.room_for(len(wanted))) if self.budget else len(wanted)
            return {"trainings": [[one.what.iteration, one.what.replicate] for one in wanted[:count]]}

        self._batches += 1
        record = self.journal.once(f"batch-{self._batches}", "batch", choose)
        return wanted[: len(record["trainings"])]

    def _alone(self, one: Wanted) -> Trained:
        fit = self._recorded(one.what, lambda: self._trained(one))
        return self._audited(one.what, Trained(fit, fit.failure or self.score(one.what)))

    def _together(self, wanted: Sequence[Wanted]) -> list[Trained]:
        """Recorded in this order, whichever ends first."""
        made = []
        with threads(self.executor.slots, self.executor.stop) as pool:
            futures = [pool.submit(self._held, one) if self._is_open(one.what) else None for one in wanted]
            for one, future in zip(wanted, futures, strict=True):
                fit = self._recorded(one.what, partial(_part, future, "training"))
                made.append(Trained(fit, fit.failure or self.score(one.what, partial(_part, future, "score"))))
        self.held.drop(one.what.key("training") for one in wanted)
        return made

    def _is_open(self, what: Again) -> bool:
        """Whether anything of a training and its score is still to be recorded."""
        past = self.journal.peek(what.key("training"))
        return past is None or (not past.data["failure"] and self.journal.peek(what.key("score")) is None)

    def _held(self, one: Wanted) -> dict[str, Any]:
        """What is to be recorded of a training and its score: made now, in a thread, or by an earlier session."""
        key, whose = one.what.key("training"), one.pipeline.hashes()
        made = self.held.get(key, whose)
        if made is None:
            began, past = time.monotonic(), self.journal.peek(key)
            training = past.data if past else self._trained(one)
            score = None if training["failure"] else self._predicted(one.what)
            seconds = round(time.monotonic() - began, 3)
            made = {"training": {**training, "slot_seconds": seconds}, "score": score}
            if self.executor.stopped:  # then it did not end by itself
                raise InterruptedError(f"{key} was stopped")
            self.held.put(key, whose, made)
        self.executor.phase(one.what.iteration, training_stage(one.what.replicate), "done")
        return made

    def _audited(self, what: Again, trained: Trained) -> Trained:
        if not what.replicate or isinstance(trained.answers, Failure):
            return trained
        return Trained(trained.fit, self.audit(what) or trained.answers)

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

    def _trained(self, one: Wanted) -> dict[str, Any]:
        """Train; gives a `TrainingRecord`."""
        what = one.what
        fit = self.executor.fit(
            what.iteration, one.pipeline, one.upcoming, one.sampled, one.reference, replicate=what.replicate
        )
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

    def _recorded(self, what: Again, train: Callable[[], dict[str, Any]]) -> Fit:
        record = self.journal.once(what.key("training"), "training", train)
        return Fit(_failure(record), record["fit_seconds"], tuple(record["rows"]), Length.from_record(record))

    def score(self, what: Again, predict: Callable[[], dict[str, Any]] | None = None) -> Answers | Failure:
        """The answers of a training on the selection images, scored against the hidden labels."""
        predict = predict or partial(self._predicted, what)
        record = self._scored[what.key("score")] = self.journal.once(what.key("score"), "score", predict)
        return _failure(record) or answers(load_predictions(self.folder / what.predictions, record["sha256"]))

    def _predicted(self, what: Again) -> dict[str, Any]:
        """Predict and score; gives a `ScoreRecord`."""
        self.dataset.verify()
        began = time.monotonic()
        rows = self.dataset.counts["selection"]
        given = self.executor.predict(what.iteration, "predict", rows, what.replicate)
        seconds = round(time.monotonic() - began, 3)
        if isinstance(given, Failure):
            return {**what.record(), "failure": given.record()}
        result = score(given, self.labels)
        file = self.folder / what.predictions
        file.parent.mkdir(exist_ok=True)
        return {
            **what.record(),
            "failure": None,
            **dataclasses.asdict(result),
            "accuracy": result.accuracy,
            "predictions": what.predictions,
            "sha256": save_predictions(file, given),
            "predict_seconds": seconds,
        }

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


def _part(future: Future[dict[str, Any]] | None, name: str) -> dict[str, Any]:
    """The part of what a thread makes, once it is made."""
    assert future is not None, "what is on record is not made again"
    made: dict[str, Any] = future.result()[name]
    return made


def _failure(record: Mapping[str, Any]) -> Failure | None:
    return Failure.from_record(record["failure"]) if record["failure"] else None
