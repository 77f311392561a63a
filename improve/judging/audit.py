"""The audit: a part of a pipeline's images, re-blinded, is predicted again in a fresh sandbox, some of them alone.

A pipeline whose answers depend on which other images it sees (it adapts to the images that it is scored on, subtracts a
batch's mean, or leaves batch normalisation in training mode) gives other probabilities now: for images that come one by
one there are no others. Its score is then not used. Each audit reads a file of its own, which nothing has touched that
could have left answers in its pages.
"""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import Failure, Reason, Split
from improve.execution.local import LocalExecutor
from improve.execution.predictions import Probabilities
from improve.execution.replicates import derived_seed

# Rounding differs between batches: by less than this where an answer depends on its own image alone.
NOISE = 0.02
TOLERANCE = 0.005  # this share of images may differ by more, and always one
MOST_ALONE = 64  # images that are predicted one by one: each is a pass of its own


def audit(
    executor: LocalExecutor, dataset: Dataset, split: Split, iteration: int, replicate: int, given: Probabilities
) -> dict[str, Any]:
    """Predict a part of `split` again and compare: an `improve.record.kinds.AuditRecord` but for what it belongs to.

    `given`: N × K, what the pipeline said of all images of the split.
    """
    rows = _sample(dataset.labels(split), executor.seed, f"{iteration} {split} {replicate}")
    alone = min(MOST_ALONE, len(rows) // 2)
    folder = executor.audit_folder(iteration)
    dataset.write_subset(split, rows, folder)
    try:
        again = executor.predict(iteration, "audit", len(rows), replicate, alone)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seen = {"images": len(rows), "alone": alone}
    if isinstance(again, Failure):
        return {**seen, "differing": 0, "flagged": True, "note": again.message}
    differing = int((np.abs(again - given[rows]).max(axis=1) > NOISE).sum())
    flagged = differing > max(1, TOLERANCE * len(rows))
    note = f"{differing} of {len(rows)} images get other probabilities alone or beside other images"
    return {**seen, "differing": differing, "flagged": flagged, "note": note}


def failure_of(record: dict[str, Any]) -> Failure | None:
    """Why a score cannot be used; None if the audit found nothing."""
    if not record["flagged"]:
        return None
    return Failure(Reason.PREDICTIONS, f"audit: {record['note']}; a prediction may depend on its own image only.")


def _sample(labels: np.ndarray, seed: int, what: str) -> np.ndarray:
    """The rows to predict again. Drawn by the hidden labels: a pipeline that knew the rows could behave on these."""
    secret = hashlib.sha256(labels.tobytes()).hexdigest()
    generator = np.random.default_rng(derived_seed(seed, f"{what} audit {secret}"))
    return generator.permutation(len(labels))[: subset_size(len(labels))]


def subset_size(total: int) -> int:
    """How many selection images an audit predicts again."""
    return min(total, max(32, min(512, total // 4)))
