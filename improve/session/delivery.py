"""Proof that what a run delivers is what it has scored: the exported folder predicts the selection images again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from improve.domain import Failure, Split
from improve.execution.local import LocalExecutor
from improve.execution.replicates import REFIT, suffix
from improve.refinement.finish import mean_of


def compare_delivered(executor: LocalExecutor, best: Path, iteration: int, members: Sequence[int]) -> dict[str, Any]:
    """The `delivered` record (see `improve.record.kinds.DeliveredRecord`): `best` against the scored predictions.

    `members`: the replicates that are delivered; the mean of their predictions is what `best` should give.
    """
    split: Split = "test" if REFIT in members else "selection"  # a refit has learnt from the selection images
    images = executor.dataset.counts[split]
    given = executor.delivered(best, split)
    record = {"iteration": iteration, "split": split, "images": images}
    if isinstance(given, Failure):
        return {**record, "differing": images, "difference": None, "note": given.message}
    files = (f"{split}-{iteration:03d}{suffix(replicate)}.npy" for replicate in members)
    scored = mean_of([np.load(executor.folder / "predictions" / file) for file in files])
    differing = int((given.argmax(axis=1) != scored.argmax(axis=1)).sum())
    return {**record, "differing": differing, "difference": float(np.abs(given - scored).max()), "note": ""}
