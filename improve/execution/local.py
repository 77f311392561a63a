"""Trainings and predictions on this machine, each in a sandbox of its own that starts from nothing.

One goes on at a time, or as many as there are `slots`: then `fit` and `predict` are called from as many threads, for
trainings that are not the same, and each use of a sandbox has a lane of its own.

For iteration k there are cells for `smoke` (each attempt its own), `fit` and `samples`, which see the components and
the training images with their labels; `predict`, which sees the blinded selection images, the components and the
weights file, and nothing else that a training left; `audit` (the same, with other images) and, after the loop, `test`.
Each serves once, and sees copies of the components and weights that no other cell sees.
"""

from __future__ import annotations

import csv
import dataclasses
import errno
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Pipeline, Reason, Split
from improve.errors import SandboxError
from improve.execution import machine
from improve.execution.cell import TEMPLATE, Cell, Outcome, limits_of, new_zygote
from improve.execution.delivered import predict_delivered
from improve.execution.fit import Fit, Samples, hard_limit
from improve.execution.length import Length
from improve.execution.place import Place
from improve.execution.predictions import BadPredictions, Probabilities, parse_predictions
from improve.execution.replicates import REFIT, derived_seed, fit_phase, predicting_stage, suffix, training_stage
from improve.execution.status import ROW_KEYS, amount, count, epoch_row
from improve.execution.told import told
from improve.execution.warm import Key, Kind, WarmCells
from improve.execution.whole import whole_context, write_whole
from improve.pipeline.export import MAX_WEIGHTS, WEIGHTS
from improve.record.space import LITTLE
from improve.sandbox import Sandbox, Zygote, remove

CELLS = "cells"  # folder in a run's, of what cells see while they run
WHOLE = "whole"  # folder in a run's, of the images of a refit while it lasts
FITTING: tuple[Kind, ...] = ("smoke", "fit", "samples")  # see the training images
# A link, a folder, a pipe or a socket; more bytes than are allowed; closed to us.
NOT_WEIGHTS = (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EFBIG, errno.EACCES)
SAMPLE_SIDE = 64  # pixels of an augmented sample
LOST = "lost"  # the event of a training that begins again, elsewhere
MAX_ROWS = 10_000  # validations that are kept and shown; a training has no more


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

    zygote: Zygote | None = None  # what cells are forked from; ours to close; None: begun when it is needed
    slots: int = 1

    def __post_init__(self) -> None:
        self._cells = WarmCells(lambda key: self._open(*key))
        self._lanes = machine.lanes(self.config, self.slots)
        self._running: set[Cell] = set()
        self.stopped = False
        self._starting = threading.Lock()
        for left in (CELLS, WHOLE):  # of a process that was killed
            remove(self.folder / left)

    def look(self, paths: Sequence[Path], token: str) -> list[str]:
        """What a cell sees of `paths`, and of all files and folders that have the token in their name.

        Raises `SandboxError` if no cell can be started, with what an import said that failed.
        """
        seen: list[str] = []
        command = {"command": "look", "paths": [str(path) for path in paths], "token": token}
        with closing(self._open("smoke", 0)) as cell:
            outcome = cell.run(command, self.config.smoke_seconds, lambda event: seen.extend(event.get("paths", [])))
        if outcome.failure:
            raise SandboxError(f"Generated code cannot run here: {outcome.failure.message}", "improve doctor")
        return seen

    def candidate_folder(self, iteration: int) -> Path:
        return self.folder / "candidates" / f"{iteration:03d}"

    def work_folder(self, iteration: int, replicate: int = 0) -> Path:
        """What is delivered of a training: its weights, never opened by this process."""
        return self.folder / "work" / f"{iteration:03d}{suffix(replicate)}"

    def provide(self, weights: Mapping[str, Mapping[str, Any]]) -> None:
        """Give further pretrained weights to all cells from now on; those that wait without them are ended."""
        if not set(weights) <= set(self.weights):
            self.weights = {**self.weights, **weights}
            self._cells.discard(lambda key: True)

    def given(self) -> list[Path]:
        """What cells see beside Python: inputs, weights, the template."""
        inputs = [self.dataset.folder, self.folder / CELLS, self.folder / "audit"]
        return [*inputs, TEMPLATE, *(Path(weights["file"]) for weights in self.weights.values())]

    def write(self, iteration: int, pipeline: Pipeline) -> None:
        """Put the three components where people find them."""
        folder = self.candidate_folder(iteration)
        folder.mkdir(parents=True, exist_ok=True)
        for name in COMPONENTS:
            (folder / f"{name}.py").write_text(pipeline.source(name), encoding="utf-8", errors="replace")

    def smoke(self, iteration: int, attempt: int, pipeline: Pipeline) -> Failure | None:
        """A few batches through all three components."""
        self.write(iteration, pipeline)
        self.phase(iteration, "check", "smoke run")
        self.expect(("fit", iteration))
        with self._cell("smoke", iteration) as cell:
            command = self._command("smoke", cell, f"{iteration} smoke {attempt}")
            failure = cell.run(command, self.config.smoke_seconds).failure
        if failure:
            self.expect(("smoke", iteration))
        return failure

    def fit(
        self,
        iteration: int,
        pipeline: Pipeline,
        upcoming: Sequence[Key] = (),
        sampled: np.ndarray | None = None,
        reference: Mapping[str, Any] | None = None,
        replicate: int = 0,
    ) -> Fit:
        """Train, within the limit; the weights go to the work folder. `upcoming`: cells needed afterwards.

        `sampled`: rows of train of which augmented samples are wanted. `reference`: the length of the training of the
        pipeline that this one revises (`Length.reference`). `replicate`: from 1 on, nothing differs but the seed; of a
        `REFIT`, the images, too.
        """
        self.write(iteration, pipeline)
        samples: list[Key] = [("samples", iteration)] if sampled is not None else []
        # The audit comes last: of a candidate that is rejected there is none.
        expected = [] if replicate else [*samples, ("predict", iteration), *upcoming, ("audit", iteration)]
        stage = training_stage(replicate)
        rows: list[dict[str, Any]] = []
        length = Length()

        def begin() -> None:
            rows.clear()
            if not replicate:
                self._write_metrics(iteration, "w", dict(zip(ROW_KEYS, ROW_KEYS, strict=True)))

        def on_event(event: dict[str, Any]) -> None:
            nonlocal length
            kind = event.get("event")
            if kind == LOST:
                begin()
            elif kind == "plan":
                length = Length.told(event)
                self.phase(iteration, stage, self._planned(length))
                # Not before: their start would take its time from the steps that the plan was made by.
                self._expect_all(expected)
            elif kind == "epoch" and len(rows) < MAX_ROWS:
                rows.append(epoch_row(event))
                if not replicate:  # as they come: whoever looks sees the curve move
                    self._write_metrics(iteration, "a", rows[-1])
                length = dataclasses.replace(length, steps=count(event.get("step")) or length.steps)
                self.phase(iteration, stage, _progress(rows[-1], amount(event.get("of"))))

        begin()
        self.phase(iteration, stage, "")
        with self._cell("fit", iteration, replicate) as cell:
            inputs = self._inputs("fit", iteration, replicate)
            command = self._command("fit", cell, fit_phase(iteration, replicate), inputs)
            context = command["context"] | {"reference": reference}
            if replicate == REFIT:
                context = whole_context(context, self.dataset)
            limit = hard_limit(context["fit_seconds"], self.slots)
            outcome = cell.run({**command, "context": context}, limit, on_event)
            self._expect_all(expected)
            failure = outcome.failure or self._keep_weights(cell, self.work_folder(iteration, replicate))
        self._require_room(failure)
        shown = self._samples(iteration, sampled) if sampled is not None and failure is None else None
        return Fit(failure, outcome.seconds, tuple(rows), length, shown)

    def refit(self, iteration: int, pipeline: Pipeline) -> Fit:
        """Train on all images but the test images, for as many epochs; the weights are those of replicate `REFIT`."""
        whole = self.folder / WHOLE
        remove(whole)
        write_whole(self.dataset, whole)
        try:
            return self.fit(iteration, pipeline, replicate=REFIT)
        finally:
            remove(whole)

    def _planned(self, length: Length) -> str:
        """What a training is going to do, so that one of a single epoch tells, too, how far it is."""
        steps = f"{length.planned_steps:,} steps in " if length.planned_steps else ""
        return f"{steps}at most {self.config.fit_seconds:g} s"

    def _expect_all(self, keys: list[Key]) -> None:
        """Have these cells started in this order, once."""
        while keys:
            self.expect(keys.pop(0))

    def _samples(self, iteration: int, rows: np.ndarray) -> Samples:
        """Ask the generated code what it makes of training images: bytes of a known number, whatever they show."""
        shape = (len(rows), SAMPLE_SIDE, SAMPLE_SIDE, 3)
        with self._cell("samples", iteration) as cell:
            wanted = {"rows": rows.tolist(), "side": SAMPLE_SIDE}
            command = {**self._command("samples", cell, f"{iteration} samples"), **wanted}
            outcome = cell.run(command, self.config.smoke_seconds, data_bytes=math.prod(shape))
        if outcome.failure:
            return Samples(None, outcome.failure.message)
        if len(outcome.data) != math.prod(shape):
            return Samples(None, f"{len(outcome.data):,} bytes came instead of {math.prod(shape):,}.")
        return Samples(np.frombuffer(outcome.data, dtype=np.uint8).reshape(shape))

    def _require_room(self, failure: Failure | None) -> None:
        """Raises `OSError` where a full disk is ours and not the candidate's, who may write so much."""
        if failure and failure.reason is Reason.DISK and shutil.disk_usage(self.folder).free < LITTLE:
            raise OSError(errno.ENOSPC, "no space left", str(self.folder))

    def _keep_weights(self, cell: Cell, folder: Path) -> Failure | None:
        """Take the weights, and nothing else, of what a training has left. Why they are of no use, if so."""
        remove(folder)  # what a killed process left there is of no use
        folder.mkdir(parents=True)
        try:
            cell.take(WEIGHTS, folder / WEIGHTS, MAX_WEIGHTS)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return Failure(Reason.CRASH, f"the training ended without leaving weights ({error.strerror}).")
            if error.errno in NOT_WEIGHTS:
                return Failure(Reason.CONTRACT, f"the training left a {WEIGHTS} that is of no use: {error.strerror}.")
            raise
        return None

    def predict(
        self, iteration: int, kind: Literal["predict", "audit"], rows: int, replicate: int = 0, alone: int = 0
    ) -> np.ndarray | Failure:
        """Probabilities `rows × K` for the selection images, or for the audit's part of a split.

        The first `alone` images are shown to the pipeline one by one.
        """
        return self._predict(kind, iteration, rows, replicate, alone)

    def predict_test(self, iteration: int, replicate: int = 0) -> np.ndarray | Failure:
        """Probabilities for the test images. The caller sees to it that this happens once."""
        return self._predict("test", iteration, self.dataset.counts["test"], replicate)

    def audit_folder(self, iteration: int) -> Path:
        """Where the re-blinded part of a split goes."""
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
            for folder in (self.folder / "work").glob(f"{iteration:03d}*"):
                remove(folder)

    def stop(self) -> None:
        """End what other threads run: it fails there soon, and so does what they begin from now on."""
        self.stopped = True
        for cell in list(self._running):
            cell.kill()

    def close(self) -> None:
        """End everything that runs."""
        self._cells.close()
        if self.zygote:
            self.zygote.close()
        remove(self.folder / CELLS)

    def _predict(self, kind: Kind, iteration: int, rows: int, replicate: int, alone: int = 0) -> np.ndarray | Failure:
        stage = predicting_stage(replicate) if kind == "predict" else "predicting"
        self.phase(iteration, stage, f"{rows} images")
        with self._cell(kind, iteration, replicate) as cell:
            command = self._command("predict", cell, f"{iteration} predict", self._inputs(kind, iteration))
            outcome = cell.run({**command, "alone": alone}, self.config.predict_seconds, data_bytes=self.bytes_of(rows))
        return self.predicted(outcome, rows)

    def delivered(self, best: Path, split: Split) -> Probabilities | Failure:
        """Probabilities of the exported pipeline in `best` for the images of a split."""
        self.zygote = self.zygote or new_zygote()
        return predict_delivered(
            best,
            self.dataset.inputs_folder(split),
            self.config.predict_seconds,
            self.config,
            self.sandbox,
            self.zygote,
            self.folder / CELLS,
        )

    def bytes_of(self, rows: int) -> int:
        """How many bytes the probabilities of `rows` images are."""
        return rows * len(self.dataset.class_names) * 4

    def predicted(self, outcome: Outcome, rows: int) -> Probabilities | Failure:
        """The probabilities of `rows` images that came with an outcome."""
        if outcome.failure:
            return outcome.failure
        try:
            return parse_predictions(outcome.data, rows, len(self.dataset.class_names))
        except BadPredictions as error:
            return Failure(Reason.PREDICTIONS, str(error))

    def _inputs(self, kind: Kind, iteration: int, replicate: int = 0) -> Path:
        if kind in FITTING:
            return self.folder / WHOLE if replicate == REFIT else self.dataset.train_folder
        if kind == "audit":
            return self.audit_folder(iteration)
        return self.dataset.inputs_folder("test" if kind == "test" else "selection")

    @contextmanager
    def _cell(self, kind: Kind, iteration: int, replicate: int = 0) -> Iterator[Cell]:
        """A cell with the candidate in its place, closed at the end. Nobody foresees a replicate's: it starts now."""
        with self._lanes.one() as lane:
            cell = self._open(kind, iteration, replicate) if replicate else self._cells.take((kind, iteration))
            cell.lane = lane
            self._running.add(cell)
            try:
                if self.stopped:
                    cell.kill()
                work = None if kind in FITTING else self.work_folder(iteration, replicate)
                cell.place.fill(self.candidate_folder(iteration), work)
                yield cell
            finally:
                self._running.discard(cell)
                cell.close()

    def _open(self, kind: Kind, iteration: int, replicate: int = 0) -> Cell:
        inputs, log = self._inputs(kind, iteration, replicate), self.log(kind, iteration, replicate)
        inputs.mkdir(parents=True, exist_ok=True)
        with self._starting:
            self.zygote = self.zygote or new_zygote()
        compiles = kind == "fit" and machine.compile_mode(self.config) != "off"
        return Cell(
            self.sandbox,
            self.zygote,
            Place(self.folder / CELLS),
            readable=[inputs, *(Path(w["file"]) for w in self.weights.values())],
            limits=dataclasses.replace(limits_of(self.config), compiler=compiles),
            log=log,
            devices=machine.gpu_devices(self.config),
        )

    def log(self, kind: Kind, iteration: int, replicate: int = 0) -> Path:
        """The file for what a cell prints. Nothing sees it: what a training prints would else reach the prediction."""
        log = self.folder / "logs" / f"{iteration:03d}{suffix(replicate)}-{kind}.log"
        if kind == "fit" and not replicate:
            log = self.candidate_folder(iteration) / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        return log

    def _command(self, command: str, cell: Cell, phase: str, data: Path | None = None) -> dict[str, Any]:
        return {
            "command": command,
            "pipeline": str(cell.place.pipeline),
            "work": str(cell.place.weights if command == "predict" else cell.place.work),
            "data": str(data or self.dataset.train_folder),
            "context": self.context(phase),
            "lane": cell.lane.record(),
        }

    def context(self, phase: str = "") -> dict[str, Any]:
        """What the components may know, as `template/context.py` reads it."""
        seed = derived_seed(self.seed, phase)
        return told(self.dataset, self.config, self.slots, seed, self.weights)

    def _write_metrics(self, iteration: int, mode: str, row: Mapping[str, Any]) -> None:
        with open(self.candidate_folder(iteration) / "metrics.csv", mode, newline="") as file:
            csv.DictWriter(file, ROW_KEYS).writerow(row)


def _progress(row: Mapping[str, Any], planned: float | None) -> str:
    accuracy = row.get("validation_accuracy")
    value = f", validation {accuracy:.3f}" if isinstance(accuracy, float) else ""
    epoch = row.get("epoch")
    return f"epoch {'?' if epoch is None else f'{epoch:.4g}'}/{'?' if planned is None else f'{planned:.4g}'}{value}"
