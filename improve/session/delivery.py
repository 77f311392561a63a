"""Proof that what a run delivers is what it has scored: the exported folder predicts the selection images again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from improve.domain import Failure
from improve.execution.cell import new_zygote
from improve.execution.delivered import predict_delivered
from improve.execution.local import CELLS, LocalExecutor


def compare_delivered(executor: LocalExecutor, best: Path, iteration: int) -> dict[str, Any]:
    """The `delivered` record (see `improve.record.kinds.DeliveredRecord`): `best` against the scored predictions."""
    images = executor.dataset.counts["selection"]
    executor.zygote = executor.zygote or new_zygote()
    given = predict_delivered(
        best,
        executor.dataset.inputs_folder("selection"),
        images,
        executor.config.predict_seconds,
        executor.config,
        executor.sandbox,
        executor.zygote,
        executor.folder / CELLS,
    )
    record = {"iteration": iteration, "images": images}
    if isinstance(given, Failure):
        return {**record, "differing": images, "difference": None, "note": given.message}
    scored = np.load(executor.folder / "predictions" / f"selection-{iteration:03d}.npy")
    differing = int((given.argmax(axis=1) != scored.argmax(axis=1)).sum())
    return {**record, "differing": differing, "difference": float(np.abs(given - scored).max()), "note": ""}
