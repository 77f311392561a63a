"""The audit: a part of the selection images, re-blinded and in another order, is predicted again in a fresh sandbox.

A pipeline whose answers depend on which other images it sees (it adapts to the images that it is scored on, or it
leaves batch normalisation in training mode) gives other answers now. Its score is then not used.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import Failure, Reason
from improve.execution.local import LocalExecutor, derived_seed, subset_size
from improve.judging.scoring import Answers, answers
from improve.record.journal import Journal

# Rounding differs between batches of different images: this share of answers may change, and always one.
TOLERANCE = 0.01


def audit(
    journal: Journal, executor: LocalExecutor, dataset: Dataset, iteration: int, given: Answers
) -> Failure | None:
    """None if the answers are the same again, else why the score cannot be used."""

    def check() -> dict[str, Any]:
        rows = _sample(dataset.labels("selection"), executor.seed, iteration)
        dataset.write_subset("selection", rows, executor.audit_folder(iteration))
        again = executor.predict(iteration, "audit", len(rows))
        if isinstance(again, Failure):
            return {"iteration": iteration, "images": len(rows), "differing": 0, "flagged": True, "note": again.message}
        differing = int((answers(again) != given[rows]).sum())
        flagged = differing > max(1, TOLERANCE * len(rows))
        note = f"{differing} of {len(rows)} answers differ when other images are predicted beside them"
        return {"iteration": iteration, "images": len(rows), "differing": differing, "flagged": flagged, "note": note}

    record = journal.once(f"audit-{iteration}", "audit", check)
    if record["flagged"]:
        return Failure(Reason.PREDICTIONS, f"audit: {record['note']}; a prediction may depend on its own image only.")
    return None


def _sample(labels: np.ndarray, seed: int, iteration: int) -> np.ndarray:
    """The rows to predict again. Drawn by the hidden labels: a pipeline that knew the rows could behave on these."""
    secret = hashlib.sha256(labels.tobytes()).hexdigest()
    generator = np.random.default_rng(derived_seed(seed, f"{iteration} audit {secret}"))
    return generator.permutation(len(labels))[: subset_size(len(labels))]
