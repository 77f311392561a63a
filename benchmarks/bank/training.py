"""One training of the bank, in a process of its own: the product's `fit`, three ways of keeping weights, predictions.

`best` are the weights of the best validation, as the product keeps them; `last` those at the end; `average` the mean of
the weights after each of the last quarter of the steps, with the statistics of batch normalisation taken anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks.bank import product
from benchmarks.bank.grid import Job
from benchmarks.bank.records import pack_bits, pack_numbers, pack_probabilities

WAYS = ("best", "last", "average")
AVERAGED_SHARE = 0.25  # of the steps, at the end
STATISTICS_BATCHES = 16  # training batches that batch normalisation is measured on for averaged weights
PREDICT_BATCH = 64
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Keeper(pl.Callback):
    """Writes the last and the averaged weights into folders beside the best ones."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.mean: list[torch.Tensor] = []
        self.count = 0
        self.steps = 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        self.steps += 1
        total = trainer.num_training_batches * (trainer.max_epochs or 1)
        if self.steps <= (1 - AVERAGED_SHARE) * total:
            return
        weights = [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]
        self.count += 1
        if self.count == 1:
            self.mean = [weight.clone() for weight in weights]
            return
        for mean, weight in zip(self.mean, weights, strict=True):
            mean.lerp_(weight, 1 / self.count)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Where the pipeline averages weights itself, Lightning has put them into the module: callbacks go in order.
        self.save(module, "last")
        with torch.no_grad():
            learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
            for parameter, mean in zip(learning, self.mean, strict=True):
                parameter.copy_(mean)
            measure_statistics(module, trainer.datamodule)  # type: ignore[attr-defined]
        self.save(module, "average")

    def save(self, module: nn.Module, way: str) -> None:
        (keeping,) = product.template("keeping")
        (self.out / way).mkdir(parents=True, exist_ok=True)
        keeping.save_weights(keeping.copied(module), self.out / way)


def measure_statistics(module: nn.Module, data: Any) -> None:
    """Take mean and variance of the layers that normalise batches anew, where they learn, on augmented images."""
    layers = [m for m in module.modules() if isinstance(m, NORMALISATIONS) and learns(m)]
    if not layers:
        return
    module.eval()
    module.training = True  # a pipeline that looks at new images several times looks once while it trains
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for number, (images, targets) in enumerate(data.train_dataloader()):
        if number == STATISTICS_BATCHES:
            break
        module(data.batch_transform(images, targets)[0])


def learns(layer: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters(recurse=False))


class Observed:
    """A pipeline's components with a keeper among the callbacks; `whole`: no training image is set aside."""

    def __init__(self, components: Any, keeper: Keeper, whole: bool) -> None:
        self.components, self.keeper, self.whole = components, keeper, whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self.components, name)

    def trainer_kwargs(self, context: Any) -> dict[str, Any]:
        kwargs = self.components.trainer_kwargs(context)
        return {**kwargs, "callbacks": [*kwargs["callbacks"], self.keeper]}

    def build_data(self, context: Any) -> Any:
        data = self.components.build_data(context)
        if self.whole:
            attach = data.attach

            def attach_all(folder: Path) -> None:
                attach(folder)
                data.train_rows = np.arange(len(data.labels))

            data.attach = attach_all
        return data


def train(job: Job, context_values: dict[str, Any], folders: dict[str, Path], probabilities: bool) -> dict[str, Any]:
    """Carry out a job and describe it: a record. `folders`: `pipeline`, `train`, `selection`, `test`, `hidden`, `work`.

    `probabilities`: the record also holds what the pipeline predicts, for studies of ensembles: the classes of each set
    of weights, and the probabilities of one, because they are large.
    """
    train_module, components, context_module, classifier = product.template(
        "train", "components", "context", "classifier"
    )
    began = time.process_time()
    sys.path.insert(0, str(folders["pipeline"]))
    context = context_module.Context.from_dict(context_values)
    keeper, refit = Keeper(folders["work"]), job.kind == "refit"
    parts = Observed(components.load_components(), keeper, refit)
    events: list[dict[str, Any]] = []
    train_module.fit(parts, context, folders["train"], folders["work"], events.append)
    curve = [row for row in events if row.get("event") == "epoch"]
    validation = [round(row["validation_accuracy"], 5) for row in curve]
    record: dict[str, Any] = {
        "kind": job.kind, "recipe": job.recipe, "seed": job.seed, "torch_seed": context.seed, "steps": keeper.steps,
        "fit_cpu_seconds": round(time.process_time() - began, 2),
        "validation_curve": [] if refit else validation,
        "train_loss": [round(row["train_loss"], 4) for row in curve],
        "best_epoch": 0 if refit else validation.index(max(validation)) + 1,
        "ways": {},
    }  # fmt: skip
    for way in ("last", "average") if refit else WAYS:
        weights = folders["work"] if way == "best" else folders["work"] / way

        def predicted(images: Iterator[np.ndarray], weights: Path = weights) -> np.ndarray:
            return np.concatenate(list(classifier.probabilities(parts, context, weights, images)))

        # A pipeline's own average is what is validated, and the best epoch may be the last one.
        same = way == "last" and not refit and record["best_epoch"] == len(curve)
        found = (
            dict(record["ways"]["best"]) if same else scored(predicted, parts, context, folders, probabilities, refit)
        )
        if way != ("average" if refit else "best"):
            found = {name: value for name, value in found.items() if not name.endswith("_probabilities")}
        record["ways"][way] = found
    record["cpu_seconds"] = round(time.process_time() - began, 2)
    return record


def batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), PREDICT_BATCH):
        yield np.asarray(images[start : start + PREDICT_BATCH])


def scored(
    predicted: Any, parts: Observed, context: Any, folders: dict[str, Path], probabilities: bool, refit: bool
) -> dict[str, Any]:
    """What the predictions of one set of weights are worth on the validation part, on selection and on test."""
    found: dict[str, Any] = {}
    if not refit:
        data = parts.build_data(context)
        data.attach(folders["train"])
        right = predicted(batches(data.array[data.validation_rows])).argmax(axis=1) == data.labels[data.validation_rows]
        found["validation"] = round(float(right.mean()), 5)
    for split in ("test",) if refit else ("selection", "test"):
        images = np.load(folders[split] / "images.npy", mmap_mode="r")
        labels = np.load(folders["hidden"] / f"{split}.npy")
        answer = predicted(batches(images))
        found[split] = pack_bits(answer.argmax(axis=1) == labels)
        found[f"{split}_accuracy"] = round(float((answer.argmax(axis=1) == labels).mean()), 5)
        if probabilities:
            found[f"{split}_classes"] = pack_numbers(answer.argmax(axis=1))
            found[f"{split}_probabilities"] = pack_probabilities(answer)
    return found
