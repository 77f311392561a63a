"""`improve predict RUN IMAGES`: the best pipeline of a run on new images, in the sandbox like every other use of it."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.invocation import command
from improve.config.places import expanded
from improve.config.schema import ExecutorConfig
from improve.domain import Failure
from improve.errors import ConfigError, DataError, ImproveError
from improve.execution.cell import new_zygote
from improve.execution.delivered import predict_delivered
from improve.execution.predictions import Probabilities
from improve.pipeline.template.images import Preparation, UnreadableImage, find_images, load_image
from improve.sandbox import choose

SECONDS_AN_IMAGE = 2.0
LEAST_SECONDS = 300.0


def predict(run: Path, paths: Sequence[Path], out: Path | None, sandbox_mode: str) -> None:
    """Write a CSV `file, class, probability` to `out`, or to stdout. Unreadable images are named on stderr.

    Raises `ConfigError` if `run` holds no finished pipeline, `DataError` if no image can be read.
    """
    best = expanded(run).absolute() / "best"
    if not (best / "context.json").exists():
        raise ConfigError(
            f"{run} holds no trained pipeline (there is no {best}).",
            "name the folder of a finished run, for instance outputs/…; a run that was stopped can be resumed",
        )
    context = json.loads((best / "context.json").read_text(encoding="utf-8"))
    files, images = _read(paths, context)
    rows = _in_sandbox(best, images, sandbox_mode)
    with open(out, "w", newline="", encoding="utf-8") if out else nullcontext(sys.stdout) as handle:
        writer = csv.writer(handle)
        writer.writerow(["file", "class", "probability"])
        for path, row in zip(files, rows, strict=True):
            writer.writerow([os.fspath(path), context["classes"][int(row.argmax())], f"{row.max():.4f}"])


def _read(paths: Sequence[Path], context: dict[str, Any]) -> tuple[list[Path], np.ndarray]:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.", "name image files or folders of images")
    to = Preparation.of(context)
    files: list[Path] = []
    images: list[np.ndarray] = []
    for path in find_images(paths):
        try:
            images.append(load_image(path, to))
            files.append(path)
        except UnreadableImage as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
    if not files:
        raise DataError("no readable image was found.", "name image files or folders of images")
    return files, np.stack(images)


def _in_sandbox(best: Path, images: np.ndarray, mode: str) -> Probabilities:
    sandbox, zygote = choose(mode), new_zygote()
    with tempfile.TemporaryDirectory(prefix="improve-predict-") as folder, closing(zygote):
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        inputs.chmod(0o755)  # under T3 as root the sandbox reads it as another user
        np.save(inputs / "images.npy", images)
        seconds = max(LEAST_SECONDS, SECONDS_AN_IMAGE * len(images))
        cells = Path(folder) / "cells"
        given = predict_delivered(best, inputs, len(images), seconds, ExecutorConfig(), sandbox, zygote, cells)
    if isinstance(given, Failure):
        raise ImproveError(f"the pipeline in {best} failed: {given.message}", f"see its code, and {command('doctor')}")
    return given
