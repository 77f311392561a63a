"""`improve predict RUN IMAGES`: the best pipeline of a run on new images, in the sandbox like every other use of it."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.schema import ExecutorConfig
from improve.errors import ConfigError, DataError, ImproveError
from improve.execution import machine
from improve.execution.cell import Cell
from improve.execution.local import GIB, MIB, worker_environment
from improve.execution.predictions import BadPredictions, Probabilities, parse_predictions
from improve.pipeline.template.images import UnreadableImage, find_images, load_image
from improve.sandbox import Limits, choose

SECONDS_AN_IMAGE = 2.0
LEAST_SECONDS = 300.0


def predict(run: Path, paths: Sequence[Path], out: Path | None, sandbox_mode: str) -> None:
    """Write a CSV `file, class, probability` to `out`, or to stdout. Unreadable images are named on stderr.

    Raises `ConfigError` if `run` holds no finished pipeline, `DataError` if no image can be read.
    """
    best = run.expanduser().absolute() / "best"
    if not (best / "context.json").exists():
        raise ConfigError(
            f"{run} holds no trained pipeline (there is no {best}).",
            "name the folder of a finished run, for instance outputs/…; a run that was stopped can be resumed",
        )
    context = json.loads((best / "context.json").read_text(encoding="utf-8"))
    files, images = _read(paths, context)
    rows = _in_sandbox(best, images, context, sandbox_mode)
    with open(out, "w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "class", "probability"])
        for path, row in zip(files, rows, strict=True):
            writer.writerow([os.fspath(path), context["classes"][int(row.argmax())], f"{row.max():.4f}"])


def _read(paths: Sequence[Path], context: dict[str, Any]) -> tuple[list[Path], np.ndarray]:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.", "name image files or folders of images")
    files: list[Path] = []
    images: list[np.ndarray] = []
    for path in find_images(paths):
        try:
            images.append(load_image(path, context["height"], context["width"], context["channels"]))
            files.append(path)
        except UnreadableImage as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
    if not files:
        raise DataError("no readable image was found.", "name image files or folders of images")
    return files, np.stack(images)


def _in_sandbox(best: Path, images: np.ndarray, context: dict[str, Any], mode: str) -> Probabilities:
    sandbox = choose(mode)
    config = ExecutorConfig()
    gpu = machine.uses_gpu(config)
    pretrained = {n: {**w, "file": str(best / w["file"])} for n, w in context["pretrained"].items()}
    here = {"accelerator": "gpu" if gpu else "cpu", "threads": machine.cores(), "pretrained": pretrained}
    with tempfile.TemporaryDirectory(prefix="improve-predict-") as folder:
        inputs = Path(folder)
        inputs.chmod(0o755)  # under T3 as root the sandbox reads it as another user
        np.save(inputs / "images.npy", images)
        cell = Cell(
            sandbox,
            readable=[best, inputs],
            writable=[],
            cwd=best,
            env=worker_environment(),
            limits=Limits(int(config.memory_gib * GIB), int(config.disk_gib * GIB), int(config.output_mib * MIB)),
            log=None,
            devices=machine.gpu_devices(config),
        )
        command = {
            "command": "predict",
            "pipeline": str(best),
            "work": str(best),
            "data": str(inputs),
            "context": {**context, **here},
        }
        seconds = max(LEAST_SECONDS, SECONDS_AN_IMAGE * len(images))
        classes = len(context["classes"])
        try:
            outcome = cell.run(command, seconds, data_bytes=len(images) * classes * 4)
        finally:
            cell.close()
    if outcome.failure:
        raise ImproveError(
            f"the pipeline in {best} failed: {outcome.failure.message}", "see its code, and improve doctor"
        )
    try:
        return parse_predictions(outcome.data, len(images), classes)
    except BadPredictions as error:
        raise ImproveError(f"the pipeline in {best} gave no usable predictions: {error}") from None
