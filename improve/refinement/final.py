"""After the loop: the test split, scored once for the first pipeline and once for the best, and never again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from improve.datasets import Dataset
from improve.domain import Failure
from improve.execution.local import LocalExecutor
from improve.execution.predictions import Probabilities
from improve.judging.audit import audit, failure_of
from improve.judging.scoring import (
    answers,
    confusion_matrix,
    save_predictions,
    score,
    worst_images,
)
from improve.refinement.workshop import Workshop

WORST = 24


def score_test(workshop: Workshop) -> None:
    """Records `test` for the first pipeline and for the best; where they are the same, its one score serves both."""
    if workshop.incumbent is None or workshop.first is None:
        return
    iterations = {"first": workshop.first, "best": workshop.incumbent.iteration}
    done = _tested_before(workshop)
    for which, iteration in iterations.items():
        if workshop.trials.journal.peek("test-best") is None:
            workshop.trials.executor.expect(("test", workshop.incumbent.iteration))

        def once(which: str = which, iteration: int = iteration) -> dict[str, Any]:
            if iteration in done:
                return {**done[iteration], "which": which}
            return _test(which, iteration, workshop.trials.executor, workshop.trials.dataset, workshop.trials.folder)

        done[iteration] = workshop.trials.journal.once(f"test-{which}", "test", once)
        workshop.tests[iteration, 0] = done[iteration]
    _write_worst(workshop, done[iterations["best"]])


def test_meanwhile(workshop: Workshop, reason: str) -> None:
    """Test the best pipeline so far, because a model is out of reach: a note, since a resumed run may go further.

    No pipeline's test predictions are scored twice, and the scores choose nothing.
    """
    best, journal = workshop.incumbent, workshop.trials.journal
    if best is None or workshop.first is None:
        return
    done = _tested_before(workshop)
    for iteration in dict.fromkeys((workshop.first, best.iteration)):
        if iteration not in done:
            trials = workshop.trials
            done[iteration] = _test("best", iteration, trials.executor, trials.dataset, trials.folder)
    first, last = done[workshop.first], done[best.iteration]
    journal.note("outage", {"reason": reason, "first": {**first, "which": "first"}, "best": {**last, "which": "best"}})


def _tested_before(workshop: Workshop) -> dict[int, dict[str, Any]]:
    """The test scores that sessions left which a model's outage ended, by iteration."""
    notes = workshop.trials.journal.notes("outage")
    return {note[which]["iteration"]: note[which] for note in notes for which in ("first", "best")}


def _test(which: str, iteration: int, executor: LocalExecutor, dataset: Dataset, folder: Path) -> dict[str, Any]:
    dataset.verify()
    given = executor.predict_test(iteration)
    if isinstance(given, Failure):
        return {"which": which, "iteration": iteration, "failure": given.record()}
    audited = audit(executor, dataset, "test", iteration, 0, given)
    failure = failure_of(audited)
    if failure:
        return {"which": which, "iteration": iteration, "failure": failure.record(), "audit": audited}
    labels = dataset.labels("test")
    result = score(given, labels)
    file = f"predictions/test-{iteration:03d}.npy"
    return {
        "which": which,
        "iteration": iteration,
        "failure": None,
        **dataclasses.asdict(result),
        "accuracy": result.accuracy,
        "confusion": confusion_matrix(given, labels).tolist(),
        "worst": _worst(given, labels, dataset),
        "strata": _by_stratum(given, labels, dataset.test_strata() or []),
        "predictions": file,
        "sha256": save_predictions(folder / file, given),
        "audit": audited,
    }


def _by_stratum(given: Probabilities, labels: np.ndarray, strata: list[str]) -> dict[str, list[int]]:
    """Correct answers and images of each kind of test images (CIFAR-10-C: the corruption)."""
    right = answers(given) == labels
    kinds = np.array(strata)
    return {name: [int(right[kinds == name].sum()), int((kinds == name).sum())] for name in sorted(set(strata))}


def _worst(given: Probabilities, labels: np.ndarray, dataset: Dataset) -> list[dict[str, Any]]:
    """The most confidently wrong test images; the pictures themselves are written by `_write_worst`."""
    chosen = answers(given)
    return [
        {
            "file": f"worst/{rank:02d}.png",
            "row": int(row),
            "true": dataset.class_names[int(labels[row])],
            "predicted": dataset.class_names[int(chosen[row])],
            "confidence": round(float(given[row].max()), 4),
        }
        for rank, row in enumerate(worst_images(given, labels, WORST))
    ]


def _write_worst(workshop: Workshop, record: dict[str, Any]) -> None:
    """The pictures of the best pipeline's worst mistakes, from the record (so that a resumed run has them, too)."""
    images = np.load(workshop.trials.dataset.inputs_folder("test") / "images.npy", mmap_mode="r")
    for entry in record.get("worst", []):
        path = workshop.trials.folder / entry["file"]
        path.parent.mkdir(exist_ok=True)
        pixels = np.asarray(images[entry["row"]])
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
