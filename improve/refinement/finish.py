"""What is delivered: one training of the best pipeline, several as an ensemble, or one on more images (a refit).

The test score of an ensemble and of a refit is taken once, too, beside that of the single training.

The test images are predicted by all trainings of the first and of the best pipeline: what a run claims is about
pipelines, not about one training of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from improve.config.schema import FinishConfig
from improve.domain import Failure
from improve.execution.predictions import Probabilities
from improve.execution.replicates import REFIT, suffix
from improve.judging.audit import audit, failure_of
from improve.judging.scoring import answers, load_predictions, save_predictions, score
from improve.judging.standings import Entry
from improve.refinement.workshop import Workshop


def complete(workshop: Workshop, finish: FinishConfig) -> None:
    """Train the best pipeline until it has `finish.members` trainings, those of its races included.

    Fewer where the budget has no room, or a training fails: what there is, is delivered.
    """
    if finish.name == "ensemble":
        workshop.train_best(finish.members)
    if finish.name == "refit":
        workshop.refit_best()


def members(workshop: Workshop, finish: FinishConfig) -> list[int]:
    """The replicates of the best pipeline that are delivered: of the further ones, those that have a test score.

    Several only if together they are not worse on the selection images than the first one alone.
    """
    best = workshop.standings.incumbent
    if best is None:
        return []
    refit = workshop.tests.get((best.iteration, REFIT))
    if refit and not refit["failure"]:
        return [REFIT]
    wanted = best.replicates[: finish.members] if finish.name == "ensemble" else best.replicates[:1]
    tests = {replicate: workshop.tests.get((best.iteration, replicate)) for replicate in wanted[1:]}
    given = [wanted[0], *(replicate for replicate, test in tests.items() if test and not test["failure"])]
    return given if _selects(workshop, best.iteration, given) else given[:1]


def _selects(workshop: Workshop, iteration: int, replicates: list[int]) -> bool:
    """Whether these trainings together are right for at least as many selection images as the first of them."""
    alone, *_ = given = [workshop.trials.selected(iteration, replicate) for replicate in replicates]
    right = [int((answers(one) == workshop.trials.labels).sum()) for one in (mean_of(given), alone)]
    return right[0] >= right[1]


def mean_of(given: Sequence[Probabilities]) -> Probabilities:
    mean: Probabilities = np.mean(np.array(given, dtype=np.float64), axis=0).astype(np.float32)
    return mean


def score_members(workshop: Workshop, finish: FinishConfig) -> None:
    """Records `member` for each further training of the first and the best pipeline, `ensemble` if there is one, and
    `refit_test` if there was a refit."""
    best = workshop.standings.incumbent
    if best is None:
        return
    for entry in tested(workshop):
        for replicate in entry.replicates[1:]:
            _member(workshop, "member", entry.iteration, replicate)
    if workshop.refitted:
        _member(workshop, "refit_test", best.iteration, REFIT)
    delivered = members(workshop, finish)
    predicted = [test_predictions(workshop, best.iteration, replicate) for replicate in delivered]
    given = [one for one in predicted if one is not None]
    if len(given) > 1 and len(given) == len(delivered):
        workshop.trials.journal.once(
            "ensemble", "ensemble", lambda: _ensemble(workshop, best.iteration, delivered, given)
        )


def tested(workshop: Workshop) -> list[Entry]:
    """The best and the first pipeline: once, if they are the same."""
    best = workshop.standings.incumbent
    assert best is not None
    first = entry_of(workshop, workshop.first if workshop.first is not None else best.iteration)
    return [best] if first is best else [best, first]


def entry_of(workshop: Workshop, iteration: int) -> Entry:
    return next(entry for entry in workshop.standings.entries if entry.iteration == iteration)


def test_predictions(workshop: Workshop, iteration: int, replicate: int) -> Probabilities | None:
    """What a training of the first or the best pipeline predicts for the test images, as on record; None if nothing."""
    record = workshop.tests.get((iteration, replicate))
    if record is None or record["failure"]:
        return None
    return load_predictions(workshop.trials.folder / record["predictions"], record["sha256"])


def _member(workshop: Workshop, kind: str, iteration: int, replicate: int) -> None:
    trials = workshop.trials
    what = {"iteration": iteration, "replicate": replicate}

    def predict() -> dict[str, Any]:
        trials.dataset.verify()
        given = trials.executor.predict_test(iteration, replicate)
        if isinstance(given, Failure):
            return {**what, "failure": given.record()}
        audited = audit(trials.executor, trials.dataset, "test", iteration, replicate, given)
        failure = failure_of(audited)
        if failure:
            return {**what, "failure": failure.record(), "audit": audited}
        return {
            **what,
            "audit": audited,
            **_scored(workshop, given, f"predictions/test-{iteration:03d}{suffix(replicate)}.npy"),
        }

    record = trials.journal.once(f"{kind}-{iteration}{suffix(replicate)}", kind, predict)
    workshop.tests[iteration, replicate] = record


def _ensemble(workshop: Workshop, iteration: int, delivered: list[int], given: list[Probabilities]) -> dict[str, Any]:
    mean = mean_of(given)
    what = {"iteration": iteration, "members": delivered}
    return {**what, **_scored(workshop, mean, f"predictions/test-{iteration:03d}-ensemble.npy")}


def _scored(workshop: Workshop, given: Probabilities, file: str) -> dict[str, Any]:
    result = score(given, workshop.trials.dataset.labels("test"))
    sha256 = save_predictions(workshop.trials.folder / file, given)
    values = dataclasses.asdict(result)
    return {"failure": None, **values, "accuracy": result.accuracy, "predictions": file, "sha256": sha256}
