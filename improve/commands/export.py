"""`improve export RUN --onnx`: the best pipeline of a run as one ONNX file, shown to answer as the run's does."""

from __future__ import annotations

import importlib.util
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from improve.commands.predict import best_of
from improve.commands.verify import recorded_config, recorded_dataset
from improve.config.invocation import install_extra
from improve.config.places import cache_folder, expanded
from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset
from improve.display.text import count
from improve.domain import Failure
from improve.errors import ConfigError, ImproveError
from improve.execution.cell import new_zygote
from improve.execution.delivered import ONNX, Delivered
from improve.execution.predictions import Probabilities
from improve.record.history import History
from improve.sandbox import choose
from improve.sandbox.packages import allow

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
SECONDS = 600.0  # to write the file, and an image's share beside it
SECONDS_AN_IMAGE = 2.0
DIFFERING = 0.01  # share of the images that may get another class: where two are nearly as likely
FAR = 0.05  # that a probability may be off


def export_onnx(run: Path, out: Path | None, sandbox_mode: str) -> None:
    """Write `out`, or `best/model.onnx`, if its answers to the selection images are those of the run's pipeline.

    Raises `ConfigError` if something that it takes is missing, `ImproveError` where ONNX cannot do what the pipeline
    does, or does something else.
    """
    folder = expanded(run).absolute()
    best, target = best_of(run), expanded(out).absolute() if out else folder / "best" / ONNX
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX files need {' and '.join(missing)}.", install_extra("onnx"))
    history = History.read(folder)
    config = recorded_config(history)
    dataset, why = recorded_dataset(config, cache_folder(config.cache_dir))
    if dataset is None:
        what = "the selection images, on which the file is to be checked, are not at hand"
        raise ConfigError(f"{what}: {why}", "put them where the run found them")
    with tempfile.TemporaryDirectory(prefix="improve-export-") as scratch:
        file = Path(scratch) / ONNX
        ours, theirs = _both(best, dataset, sandbox_mode, file)
        said = compared(ours, theirs)
        try:
            target.write_bytes(file.read_bytes())
        except OSError as error:
            raise ConfigError(f"{target} cannot be written: {error.strerror}.", "choose another -o FILE") from None
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB")
    print(f"checked with onnxruntime: {said}")
    height, width = (dataset.stored,) * 2 if dataset.stored else (dataset.height, dataset.width)
    print(
        f"input: images, uint8 N × {height} × {width} × {dataset.channels}, as best/images.py prepares them; "
        "output: probabilities, N × K; the classes are in its metadata"
    )


def _both(best: Path, dataset: Dataset, mode: str, file: Path) -> tuple[Probabilities, Probabilities]:
    """What the delivered pipeline and its ONNX file make of the selection images; the file is written meanwhile."""
    allow(LIBRARIES)
    sandbox, zygote, images = choose(mode), new_zygote(), dataset.counts["selection"]
    seconds = SECONDS + SECONDS_AN_IMAGE * images
    given: list[Probabilities] = []
    with closing(zygote):
        for target in (None, file):
            cells, inputs = file.parent / "cells", dataset.inputs_folder("selection")
            with closing(Delivered(best, inputs, ExecutorConfig(), sandbox, zygote, cells)) as delivered:
                answer = delivered.to_onnx(target, seconds) if target else delivered.predict(seconds)
            if isinstance(answer, Failure):
                raise ImproveError(f"the pipeline in {best} cannot be exported: {answer.message}")
            given.append(answer)
    return given[0], given[1]


def compared(ours: Probabilities, theirs: Probabilities) -> str:
    """In words, how near two predictions `N × K` are. Raises `ImproveError` if more than rounding is between."""
    differing = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    far = float(np.abs(ours - theirs).max())
    same = f"{count(len(ours) - differing, 'image')} of {len(ours):,} get the same class"
    said = f"{same}, and probabilities differ by at most {far:.1g}"
    if differing > DIFFERING * len(ours) or far > FAR:
        raise ImproveError(
            f"the ONNX file does not answer as the pipeline does ({said}): it is not kept.",
            "deploy best/ as it is, or tell us of the pipeline",
        )
    return said
