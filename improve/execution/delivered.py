"""Predictions of an exported pipeline: what a run has delivered, in a sandbox like every other use of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.schema import ExecutorConfig
from improve.domain import Failure, Reason
from improve.execution import machine
from improve.execution.cell import Cell, limits_of
from improve.execution.place import Place
from improve.execution.predictions import BadPredictions, Probabilities, parse_predictions
from improve.sandbox import Sandbox, Zygote


def predict_delivered(
    best: Path,
    inputs: Path,
    seconds: float,
    config: ExecutorConfig,
    sandbox: Sandbox,
    zygote: Zygote,
    cells: Path,
) -> Probabilities | Failure:
    """Probabilities N × K of the pipeline in the folder `best` for the N images of `inputs/images.npy`.

    Nothing is seen but that folder's components, weights and pretrained weights, as copies below `cells`.
    """
    context: dict[str, Any] = json.loads((best / "context.json").read_text(encoding="utf-8"))
    pretrained = {name: {**w, "file": str(best / w["file"])} for name, w in context["pretrained"].items()}
    accelerator, threads = "gpu" if machine.uses_gpu(config) else "cpu", machine.training_threads(config)
    context |= {"pretrained": pretrained, "accelerator": accelerator, "threads": threads}
    rows = len(np.load(inputs / "images.npy", mmap_mode="r"))
    place = Place(cells)
    place.fill(best, best)
    cell = Cell(
        sandbox,
        zygote,
        place,
        readable=[inputs, *(Path(w["file"]) for w in pretrained.values())],
        limits=limits_of(config),
        log=None,
        devices=machine.gpu_devices(config),
    )
    try:
        command = {
            "command": "predict",
            "pipeline": str(place.pipeline),
            "work": str(place.weights),
            "data": str(inputs),
            "context": context,
        }
        outcome = cell.run(command, seconds, data_bytes=rows * len(context["classes"]) * 4)
    finally:
        cell.close()
    if outcome.failure:
        return outcome.failure
    try:
        return parse_predictions(outcome.data, rows, len(context["classes"]))
    except BadPredictions as error:
        return Failure(Reason.PREDICTIONS, str(error))
