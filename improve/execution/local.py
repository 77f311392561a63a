"""Trainings and predictions on this machine, one at a time, each in a sandbox of its own.

For iteration k there are up to three cells: `fit` (smoke runs and the training; sees training images and labels),
`predict` (sees the blinded selection images and, read-only, what the training left) and `audit` (the same, with a
re-blinded part of the images); after the loop, `test` (the same, with the test images). Each serves once.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import math
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline, Reason
from improve.execution import machine
from improve.execution.cell import Cell
from improve.execution.length import Length
from improve.execution.predictions import BadPredictions, parse_predictions
from improve.execution.status import ROW_KEYS, amount, count, epoch_row
from improve.execution.warm import Key, Kind, WarmCells
from improve.pipeline.export import WEIGHTS
from improve.sandbox import Limits, Sandbox, remove

GIB = 1024**3
MIB = 1024**2
# Beyond its own time limit a training may finish its step and its validation, and write its weights.
GRACE_SHARE, GRACE_SECONDS = 0.5, 30.0
SAMPLE_SIDE = 64  # pixels of an augmented sample
MAX_ROWS = 10_000  # validations that are kept and shown; a training has no more


@dataclass(frozen=True)
class Samples:
    """Augmented training images, M × side × side × 3 uint8, as the generated code shows them; or why there are none."""

    pixels: np.ndarray | None
    problem: str = ""


@dataclass(frozen=True)
class Fit:
    """One training. `rows` (a validation each) and its length are self-reported."""

    failure: Failure | None
    seconds: float
    rows: tuple[dict[str, Any], ...] = ()
    length: Length = field(default_factory=Length)
    samples: Samples | None = None  # what the data component made of the images that were asked for


@dataclass
class LocalExecutor:
    """Runs one run's pipelines. `phase(iteration, stage, detail)` tells the display what is going on."""

    config: ExecutorConfig
    sandbox: Sandbox
    dataset: Dataset
    weights: Mapping[str, Mapping[str, Any]]  # pretrained ones by timm's name: file, mean, std
    folder: Path  # of the run
    seed: int
    phase: Callable[[int, str, str], None]

    def __post_init__(self) -> None:
        self._cells = WarmCells(lambda key: self._open(*key))

    def candidate_folder(self, iteration: int) -> Path:
        return self.folder / "candidates" / f"{iteration:03d}"

    def work_folder(self, iteration: int) -> Path:
        """What a training leaves: opaque, never opened by this process."""
        return self.folder / "work" / f"{iteration:03d}"

    def write(self, iteration: int, pipeline: Pipeline) -> None:
        """Put the three components where the sandbox sees them."""
        folder = self.candidate_folder(iteration)
        folder.mkdir(parents=True, exist_ok=True)
        for name in COMPONENTS:
            (folder / f"{name}.py").write_text(pipeline.source(name), encoding="utf-8", errors="replace")

    def smoke(self, iteration: int, attempt: int, pipeline: Pipeline) -> Failure | None:
        """A few batches through all three components."""
        self.write(iteration, pipeline)
        self.phase(iteration, "check", "smoke run")
        cell = self._cells.take(("fit", iteration))
        self._cells.keep(("fit", iteration), cell)
        return cell.run(self._command("smoke", iteration, f"smoke {attempt}"), self.config.smoke_seconds).failure

    def fit(
        self,
        iteration: int,
        pipeline: Pipeline,
        upcoming: Sequence[Key] = (),
        sampled: np.ndarray | None = None,
        reference: Mapping[str, Any] | None = None,
    ) -> Fit:
        """Train, within the limit; leaves the weights in the work folder. `upcoming`: cells needed afterwards.

        `sampled`: rows of train of which augmented samples are wanted. `reference`: the length of the training of the
        pipeline that this one revises (`Length.reference`).
        """
        self.write(iteration, pipeline)
        cell = self._cells.take(("fit", iteration))
        # The audit comes last: of a candidate that is rejected there is none.
        expected = [("predict", iteration), *upcoming, ("audit", iteration)]
        rows: list[dict[str, Any]] = []
        length = Length()

        def on_event(event: dict[str, Any]) -> None:
            nonlocal length
            kind = event.get("event")
            if kind == "plan":
                length = Length.told(event)
                # Not before: their start would take its time from the steps that the plan was made by.
                self._expect_all(expected)
            elif kind == "epoch" and len(rows) < MAX_ROWS:
                rows.append(epoch_row(event))
                length = dataclasses.replace(length, steps=count(event.get("step")) or length.steps)
                self.phase(iteration, "training", _progress(rows[-1], amount(event.get("of"))))

        samples = None
        self.phase(iteration, "training", "")
        hard = hard_limit(self.config.fit_seconds)
        command = self._command("fit", iteration, "fit")
        try:
            outcome = cell.run({**command, "context": {**command["context"], "reference": reference}}, hard, on_event)
            self._expect_all(expected)
            if sampled is not None and outcome.failure is None:
                samples = self._samples(cell, iteration, sampled)
        finally:
            cell.close()
        self._write_metrics(iteration, rows)
        failure = outcome.failure or self._weights_failure(iteration)
        return Fit(failure, outcome.seconds, tuple(rows), length, samples)

    def _expect_all(self, keys: list[Key]) -> None:
        """Have these cells started in this order, once."""
        while keys:
            self.expect(keys.pop(0))

    def _samples(self, cell: Cell, iteration: int, rows: np.ndarray) -> Samples:
        """Ask the generated code what it makes of training images: bytes of a known number, whatever they show."""
        command = {**self._command("samples", iteration, "samples"), "rows": rows.tolist(), "side": SAMPLE_SIDE}
        shape = (len(rows), SAMPLE_SIDE, SAMPLE_SIDE, 3)
        outcome = cell.run(command, self.config.smoke_seconds, data_bytes=math.prod(shape))
        if outcome.failure:
            return Samples(None, outcome.failure.message)
        if len(outcome.data) != math.prod(shape):
            return Samples(None, f"{len(outcome.data):,} bytes came instead of {math.prod(shape):,}.")
        return Samples(np.frombuffer(outcome.data, dtype=np.uint8).reshape(shape))

    def _weights_failure(self, iteration: int) -> Failure | None:
        """Why the file that a training left is of no use. It is not opened, and no link is followed."""
        try:
            status = (self.work_folder(iteration) / WEIGHTS).lstat()
        except OSError as error:
            return Failure(Reason.CRASH, f"the training ended without leaving weights ({error.strerror}).")
        if not stat.S_ISREG(status.st_mode):
            return Failure(Reason.CONTRACT, f"the training left a {WEIGHTS} that is not a regular file.")
        return None

    def predict(self, iteration: int, kind: Literal["predict", "audit"], rows: int) -> np.ndarray | Failure:
        """Probabilities `rows × K` for the selection images, or for the audit's part of them."""
        return self._predict(self._cells.take((kind, iteration)), iteration, self._inputs(kind, iteration), rows)

    def predict_test(self, iteration: int) -> np.ndarray | Failure:
        """Probabilities for the test images. The caller sees to it that this happens once."""
        cell = self._cells.take(("test", iteration))
        return self._predict(cell, iteration, self._inputs("test", iteration), self.dataset.counts["test"])

    def audit_folder(self, iteration: int) -> Path:
        """Where the re-blinded part of the selection images goes."""
        return self.folder / "audit" / f"{iteration:03d}"

    def expect(self, key: Key) -> None:
        """Start a cell before it is needed, if a core is free for it."""
        if machine.cores() > 1:
            self._cells.expect(key)

    def discard(self, iteration: int, keep_work: bool) -> None:
        """End what an iteration still runs, and remove what it left unless it is kept."""
        self._cells.discard(lambda key: key[1] == iteration and key[0] != "test")
        shutil.rmtree(self.audit_folder(iteration), ignore_errors=True)
        if not keep_work:
            remove(self.work_folder(iteration))

    def close(self) -> None:
        """End everything that runs."""
        self._cells.close()

    def _predict(self, cell: Cell, iteration: int, inputs: Path, rows: int) -> np.ndarray | Failure:
        self.phase(iteration, "predicting", f"{rows} images")
        classes = len(self.dataset.class_names)
        command = {**self._command("predict", iteration, "predict"), "data": str(inputs)}
        try:
            outcome = cell.run(command, self.config.predict_seconds, data_bytes=rows * classes * 4)
        finally:
            cell.close()
        if outcome.failure:
            return outcome.failure
        try:
            return parse_predictions(outcome.data, rows, classes)
        except BadPredictions as error:
            return Failure(Reason.PREDICTIONS, str(error))

    def _inputs(self, kind: Kind, iteration: int) -> Path:
        if kind == "fit":
            return self.dataset.train_folder
        if kind == "audit":
            return self.audit_folder(iteration)
        return self.dataset.inputs_folder("test" if kind == "test" else "selection")

    def _open(self, kind: Kind, iteration: int) -> Cell:
        inputs = self._inputs(kind, iteration)
        inputs.mkdir(parents=True, exist_ok=True)
        if kind != "fit":
            # Not in the candidate's folder: the audit would read there what the prediction printed about its inputs.
            return self._start(iteration, [inputs], [], self.folder / "logs" / f"{iteration:03d}-{kind}.log")
        work = self.work_folder(iteration)
        # What a killed process left there is of no use: the training starts anew.
        remove(work)
        return self._start(iteration, [inputs], [work], self.candidate_folder(iteration) / "log.txt")

    def _start(self, iteration: int, readable: list[Path], writable: list[Path], log: Path) -> Cell:
        candidate, work = self.candidate_folder(iteration), self.work_folder(iteration)
        for path in (candidate, work, log.parent):
            path.mkdir(parents=True, exist_ok=True)
        return Cell(
            self.sandbox,
            readable=[
                candidate,
                *readable,
                *([] if writable else [work]),
                *(Path(w["file"]) for w in self.weights.values()),
            ],
            writable=writable,
            cwd=candidate,
            env=worker_environment(),
            limits=Limits(
                memory_bytes=int(self.config.memory_gib * GIB),
                disk_bytes=int(self.config.disk_gib * GIB),
                output_bytes=int(self.config.output_mib * MIB),
            ),
            log=log,
            devices=machine.gpu_devices(self.config),
        )

    def _command(self, command: str, iteration: int, phase: str) -> dict[str, Any]:
        data = self.dataset
        return {
            "command": command,
            "pipeline": str(self.candidate_folder(iteration)),
            "work": str(self.work_folder(iteration)),
            "data": str(data.train_folder),
            "context": self.context(f"{iteration} {phase}"),
        }

    def context(self, phase: str = "") -> dict[str, Any]:
        """What the components may know, as `template/context.py` reads it."""
        data = self.dataset
        gpu = machine.uses_gpu(self.config)
        return {
            "classes": list(data.class_names),
            "height": data.height,
            "width": data.width,
            "channels": data.channels,
            "mean": list(data.mean),
            "std": list(data.std),
            "train_images": data.counts["train"],
            "images_per_class": list(data.images_per_class),
            "seed": derived_seed(self.seed, phase),
            "fit_seconds": self.config.fit_seconds,
            "steps": self.config.steps or 0,
            "threads": machine.training_threads(self.config),
            "workers": self.config.workers,
            "accelerator": "gpu" if gpu else "cpu",
            "precision": self.config.precision,
            "hardware": machine.description(self.config),
            "required_model": data.required_model,
            "pretrained": {name: dict(weights) for name, weights in self.weights.items()},
        }

    def _write_metrics(self, iteration: int, rows: list[dict[str, Any]]) -> None:
        with open(self.candidate_folder(iteration) / "metrics.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, ROW_KEYS)
            writer.writeheader()
            writer.writerows(rows)


def hard_limit(fit_seconds: float) -> float:
    """Seconds after which a training is ended by force."""
    return fit_seconds + max(GRACE_SECONDS, GRACE_SHARE * fit_seconds)


def worker_environment() -> dict[str, str]:
    """One thread until a training sets its own number: a worker that forks must not have started any."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_CACHE_DISABLE": "1",
    }


def derived_seed(seed: int, phase: str) -> int:
    """A seed below 2³¹ from the run's and the phase, so that resuming needs no saved generator."""
    return int.from_bytes(hashlib.sha256(f"{seed} {phase}".encode()).digest()[:4], "big") >> 1


def subset_size(total: int) -> int:
    """How many selection images an audit predicts again."""
    return min(total, max(32, min(512, total // 4)))


def _progress(row: Mapping[str, Any], planned: float | None) -> str:
    accuracy = row.get("validation_accuracy")
    value = f", validation {accuracy:.3f}" if isinstance(accuracy, float) else ""
    epoch = row.get("epoch")
    return f"epoch {'?' if epoch is None else f'{epoch:.4g}'}/{'?' if planned is None else f'{planned:.4g}'}{value}"
