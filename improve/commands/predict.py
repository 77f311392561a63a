"""`improve predict RUN IMAGES`: the best pipeline of a run on new images, in the sandbox like every other use of it."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from improve.commands.predictions_table import Columns, Table, opened, part_of
from improve.config.invocation import command
from improve.config.places import expanded
from improve.config.schema import ExecutorConfig
from improve.display.text import count, one_line
from improve.domain import Failure
from improve.errors import ConfigError, DataError, ImproveError
from improve.execution.cell import new_zygote
from improve.execution.delivered import predict_delivered
from improve.execution.predictions import Probabilities
from improve.pipeline.template.images import Preparation, UnreadableImage, find_images, load_image
from improve.sandbox import choose

SECONDS_AN_IMAGE = 2.0
LEAST_SECONDS = 300.0
BATCH = 1024  # images that are predicted, and written, together


def predict(run: Path, paths: Sequence[Path], out: Path | None, sandbox_mode: str, columns: Columns) -> None:
    """Write a CSV to `out`, or to stdout, a row an image. Unreadable images are named on stderr.

    What is finished is written at once, so that nothing is lost of it if the rest fails. Raises `ConfigError` if `run`
    holds no finished pipeline or `out` cannot be written, `DataError` if no image can be read.
    """
    best = best_of(run)
    context = json.loads((best / "context.json").read_text(encoding="utf-8"))
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.", "name image files or folders of images")
    with opened(out) as stream:
        table, done = Table(stream, context["classes"], columns), 0
        for files, images in _batches(find_images(paths), Preparation.of(context)):
            table.write(files, _in_sandbox(best, images, sandbox_mode, done, out))
            done += len(files)
        if not done:
            raise DataError("no readable image was found.", "name image files or folders of images")


def best_of(run: Path) -> Path:
    """What the run in a folder has delivered. Raises `ConfigError` if there is nothing."""
    best = expanded(run).absolute() / "best"
    if not (best / "context.json").exists():
        raise ConfigError(
            f"{run} holds no trained pipeline (there is no {best}).",
            "name the folder of a finished run, for instance outputs/…; a run that was stopped can be resumed",
        )
    return best


def _batches(paths: Iterable[Path], to: Preparation) -> Iterator[tuple[list[Path], np.ndarray]]:
    """The readable images with their files."""
    readable = ((path, image) for path in paths if (image := _read(path, to)) is not None)
    while batch := list(itertools.islice(readable, BATCH)):
        yield [path for path, _ in batch], np.stack([image for _, image in batch])


def _read(path: Path, to: Preparation) -> np.ndarray | None:
    try:
        return load_image(path, to)
    except UnreadableImage as error:
        print(f"skipped {one_line(str(path))}: {error}", file=sys.stderr)
        return None


def _in_sandbox(best: Path, images: np.ndarray, mode: str, done: int, out: Path | None) -> Probabilities:
    sandbox, zygote = choose(mode), new_zygote()
    with tempfile.TemporaryDirectory(prefix="improve-predict-") as folder, closing(zygote):
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        inputs.chmod(0o755)  # under T3 as root the sandbox reads it as another user
        np.save(inputs / "images.npy", images)
        seconds = max(LEAST_SECONDS, SECONDS_AN_IMAGE * len(images))
        cells = Path(folder) / "cells"
        given = predict_delivered(best, inputs, seconds, ExecutorConfig(), sandbox, zygote, cells)
    if isinstance(given, Failure):
        kept = f" {count(done, 'image')} before it are done, in {part_of(out)}." if done and out else ""
        raise ImproveError(
            f"the pipeline in {best} failed: {given.message}{kept}", f"see its code, and {command('doctor')}"
        )
    return given
