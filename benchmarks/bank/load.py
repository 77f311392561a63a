"""The bank as frames and arrays.

    from benchmarks.bank.load import load, tasks
    bank = load("dsprites")                     # replicates, weights of the best validation
    bank.frame                                  # a row a training: recipe, seed, accuracies, …
    bank.selection[i], bank.test[i]             # right or wrong for each image in row i's training

A recipe is three digits, the options of data, model and training; `tasks()[name]["options"]` says what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bank.grid import COMPONENTS
from benchmarks.bank.records import read, unpack_bits, unpack_numbers, unpack_probabilities

HERE = Path(__file__).resolve().parent
WAYS = ("best", "last", "average")
PLAIN = ("recipe", "seed", "steps", "fit_cpu_seconds", "best_epoch", "validation_curve", "train_loss")
SPLITS = ("selection", "test")


@dataclass(frozen=True)
class Trainings:
    """R trainings of one data set with one way of keeping weights.

    `frame`: R rows, sorted by recipe and seed; columns `recipe`, `data`, `model`, `training` (numbers of options),
    `seed`, `steps`, `fit_cpu_seconds`, `best_epoch`, `validation_curve`, `train_loss`, and the accuracies (0…1)
    `validation`, `selection_accuracy`, `test_accuracy`.
    `selection`: R × S booleans, `test`: R × T booleans, in the order of `labels` (S and T class numbers).
    A refit has learnt from the selection images: its `selection` is empty (R × 0), its `validation` is missing.
    """

    frame: pd.DataFrame
    selection: np.ndarray
    test: np.ndarray
    labels: Mapping[str, np.ndarray]

    def rows(self, recipe: str) -> np.ndarray:
        """The rows of one pipeline, in the order of their seeds."""
        return np.flatnonzero(self.frame["recipe"].to_numpy() == recipe)


@dataclass(frozen=True)
class Predictions:
    """What R trainings of the pipelines with many seeds predict. `frame` as in `Trainings`.

    `classes`: split → R × N uint8. `probabilities`: split → R × N × K float32, on a scale of 32 steps (one half is off
    by at most 0.023; take the class from `classes`). Probabilities are kept of one way alone: `best`; of refits
    `average`.
    """

    frame: pd.DataFrame
    classes: Mapping[str, np.ndarray]
    probabilities: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]


def tasks(folder: Path = HERE) -> dict[str, Any]:
    """Data sets by name: `options` of each component, `recipes`, `counts`, `classes`, `epochs`, `batch_size`, …"""
    found: dict[str, Any] = json.loads((folder / "tasks.json").read_text())["tasks"]
    return found


def load(dataset: str, way: str = "best", kind: str = "replicate", folder: Path = HERE) -> Trainings:
    """All trainings of a data set that the bank has so far. `kind`: replicate, or refit (no `best` way)."""
    records, task = _records(dataset, kind, way, folder)
    counts = {split: task["counts"][split] if split in _kept(kind) else 0 for split in SPLITS}
    bits = {
        split: np.array([unpack_bits(r["ways"][way][split], n) for r in records], bool).reshape(len(records), n)
        if n else np.empty((len(records), 0), bool)
        for split, n in counts.items()
    }  # fmt: skip
    return Trainings(_frame(records, way), bits["selection"], bits["test"], _labels(task))


def predictions(dataset: str, way: str = "best", kind: str = "replicate", folder: Path = HERE) -> Predictions:
    """Classes, and probabilities if they are kept, of the trainings that have them: of pipelines with many seeds."""
    records, task = _records(dataset, kind, way, folder)
    records = [record for record in records if "test_classes" in record["ways"][way]]
    kept, count = _kept(kind), len(task["classes"])
    classes = {s: np.array([unpack_numbers(r["ways"][way][f"{s}_classes"]) for r in records]) for s in kept}
    probabilities: dict[str, np.ndarray] = {}
    if way == ("average" if kind == "refit" else "best"):
        for split in kept:
            packed = [unpack_probabilities(r["ways"][way][f"{split}_probabilities"], count) for r in records]
            probabilities[split] = np.array([_untied(p, c) for p, c in zip(packed, classes[split], strict=True)])
    return Predictions(_frame(records, way), classes, probabilities, _labels(task))


def _untied(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """N × K with the class that was predicted ahead of those that share its step of the scale."""
    rows = np.arange(len(classes))
    probabilities[rows, classes] = 1.001 * probabilities.max(axis=1)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _kept(kind: str) -> tuple[str, ...]:
    return ("test",) if kind == "refit" else SPLITS


def _labels(task: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {split: unpack_numbers(text) for split, text in task["labels"].items()}


def _records(dataset: str, kind: str, way: str, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The newest record of each training, by recipe and seed, and the description of the data set."""
    known = tasks(folder)
    if dataset not in known:
        raise KeyError(f"no data set {dataset!r} in {folder} (there: {', '.join(known)})")
    newest = {(r["recipe"], r["seed"]): r for r in read(folder / f"{dataset}.jsonl") if r["kind"] == kind}
    return [newest[key] for key in sorted(newest) if way in newest[key]["ways"]], known[dataset]


def _frame(records: list[dict[str, Any]], way: str) -> pd.DataFrame:
    frame = pd.DataFrame({name: [record[name] for record in records] for name in PLAIN})
    for position, name in enumerate(COMPONENTS):
        frame.insert(1 + position, name, [int(record["recipe"][position]) for record in records])
    for name in ("validation", "selection_accuracy", "test_accuracy"):
        frame[name] = [record["ways"][way].get(name, np.nan) for record in records]
    return frame
