"""What a run has delivered, used: in a sandbox like every other use of generated code."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.schema import ExecutorConfig
from improve.domain import Failure, Reason
from improve.execution import machine
from improve.execution.cell import Cell, Outcome, limits_of
from improve.execution.place import Place
from improve.execution.predictions import BadPredictions, Probabilities, parse_predictions
from improve.pipeline.export import MAX_WEIGHTS
from improve.sandbox import Sandbox, Zygote

ONNX = "model.onnx"  # as template/to_onnx.py calls it


class Delivered:
    """An exported pipeline in a sandbox of its own, for one use.

    Nothing is seen but that folder's components, weights and pretrained weights, as copies below `cells`, and the
    images.npy of `inputs`.
    """

    def __init__(
        self, best: Path, inputs: Path, config: ExecutorConfig, sandbox: Sandbox, zygote: Zygote, cells: Path
    ) -> None:
        self.context: dict[str, Any] = json.loads((best / "context.json").read_text(encoding="utf-8"))
        pretrained = {name: {**w, "file": str(best / w["file"])} for name, w in self.context["pretrained"].items()}
        config = machine.here(config)
        accelerator, threads = "gpu" if machine.uses_gpu(config) else "cpu", machine.training_threads(config)
        self.context |= {"pretrained": pretrained, "accelerator": accelerator, "threads": threads}
        self._rows = len(np.load(inputs / "images.npy", mmap_mode="r"))
        self._inputs, self._place = inputs, Place(cells)
        self._place.fill(best, best)
        self._cell = Cell(
            sandbox,
            zygote,
            self._place,
            readable=[inputs, *(Path(w["file"]) for w in pretrained.values())],
            limits=limits_of(config),
            log=None,
            devices=machine.gpu_devices(config),
        )

    def close(self) -> None:
        self._cell.close()

    def predict(self, seconds: float) -> Probabilities | Failure:
        """Probabilities N × K of the N images."""
        return self._probabilities(self._run("predict", self._place.weights, seconds))

    def to_onnx(self, target: Path, seconds: float) -> Probabilities | Failure:
        """Write the pipeline as an ONNX file (see template/to_onnx.py), and give what onnxruntime makes of the images.

        The file is copied as bytes. Raises `OSError` if there is none, or no room for it.
        """
        given = self._probabilities(self._run("onnx", self._place.work, seconds))
        if not isinstance(given, Failure):
            self._cell.take(ONNX, target, MAX_WEIGHTS)
        return given

    def _run(self, command: str, work: Path, seconds: float) -> Outcome:
        asked = {
            "command": command,
            "pipeline": str(self._place.pipeline),
            "weights": str(self._place.weights),
            "work": str(work),
            "data": str(self._inputs),
            "context": self.context,
        }
        return self._cell.run(asked, seconds, data_bytes=self._rows * len(self.context["classes"]) * 4)

    def _probabilities(self, outcome: Outcome) -> Probabilities | Failure:
        if outcome.failure:
            return outcome.failure
        try:
            return parse_predictions(outcome.data, self._rows, len(self.context["classes"]))
        except BadPredictions as error:
            return Failure(Reason.PREDICTIONS, str(error))


def predict_delivered(
    best: Path,
    inputs: Path,
    seconds: float,
    config: ExecutorConfig,
    sandbox: Sandbox,
    zygote: Zygote,
    cells: Path,
) -> Probabilities | Failure:
    """Probabilities N × K of the pipeline in the folder `best` for the N images of `inputs/images.npy`."""
    with closing(Delivered(best, inputs, config, sandbox, zygote, cells)) as delivered:
        return delivered.predict(seconds)
