"""The trained classifier as one ONNX file, with all that is done to an image inside, and what onnxruntime makes of it.

It takes `images`, uint8 `N × H × W × C` as `images.load_image` prepares them, and gives `probabilities`, float32
`N × K`, for any N. The names of the classes are in its metadata, as JSON under `classes`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from classifier import Trained
from components import Components
from context import Context
from errors import ContractError
from torch import Tensor, nn

FILE = "model.onnx"
INPUT, OUTPUT, CLASSES = "images", "probabilities", "classes"
TRACED = 2  # images that it is shown to be traced: one would look like no batch


class Graph(nn.Module):
    """From prepared images in the layout of files to probabilities."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trained = trained

    def forward(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.trained(images.permute(0, 3, 1, 2))
        return probabilities


def write(components: Components, context: Context, weights: Path, out: Path) -> None:
    """Write FILE into the folder `out`. Raises `ContractError` where ONNX cannot say what the pipeline does."""
    torch.set_num_threads(context.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    graph = Graph(Trained(components, context.replace(accelerator="cpu"), weights)).eval()
    shown = torch.zeros((TRACED, *context.stored_size, context.channels), dtype=torch.uint8)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                graph, (shown,), dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().split("\n", 1)[0]
        raise ContractError(f"ONNX cannot express what this pipeline does: {cause}") from error
    assert program is not None
    program.model.metadata_props[CLASSES] = json.dumps(list(context.classes), ensure_ascii=False)
    program.save(str(out / FILE), external_data=False)


def answers(file: Path, threads: int, batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Probabilities `N × K` that onnxruntime gives for each batch of prepared images, uint8 `N × H × W × C`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    for batch in batches:
        yield session.run([OUTPUT], {INPUT: batch})[0]
