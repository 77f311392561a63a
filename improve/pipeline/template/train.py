"""Trains the pipeline of this folder and keeps its best epoch: `python train.py [--data DIR] [--out DIR]`.

DIR holds `images.npy` (uint8, N × H × W × C) and `labels.npy` (int64, N), or one folder of images for each class.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from components import Components, load_components
from context import Context
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from template import ImageClassifier, ImageDataModule, NonFiniteLoss

WEIGHTS = "weights.pt"
CALIBRATION_STEPS = 4
# Share of the time limit that the planned epochs may take: the rest is for validation and for slower moments.
PLANNED_SHARE = 0.85

Report = Callable[[dict[str, Any]], None]


def print_report(event: dict[str, Any]) -> None:
    """One line an epoch for people."""
    print(
        "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in event.items()
        )
    )


class EpochLog(Callback):
    """Follows the training: stops at a loss that is not finite, reports each epoch, keeps the best epoch's weights."""

    def __init__(self, out: Path, epochs: int, report: Report) -> None:
        self.out, self.epochs, self.report = out, epochs, report
        self.best = -1.0
        self.started = time.monotonic()
        self.sums: dict[str, torch.Tensor] = {}
        self.counts = {"train": 0, "val": 0}

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.monotonic()
        self._clear("train")

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._clear("val")

    def _clear(self, part: str) -> None:
        zero = torch.zeros(())
        self.sums[f"{part}_loss"], self.sums[f"{part}_correct"], self.counts[part] = zero, zero, 0

    def _add(self, part: str, outputs: Any, batch: Any) -> None:
        count = len(batch[1])
        self.sums[f"{part}_loss"] = self.sums[f"{part}_loss"] + outputs["loss"].detach().float().cpu() * count
        self.sums[f"{part}_correct"] = self.sums[f"{part}_correct"] + outputs["correct"].detach().float().cpu()
        self.counts[part] += count

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self._add("train", outputs, batch)
        if not math.isfinite(self.sums["train_loss"].item()):
            raise NonFiniteLoss(f"the training loss is not finite at step {trainer.global_step}.")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int, j: int = 0
    ) -> None:
        self._add("val", outputs, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # This runs before EMAWeightAveraging swaps the averaged weights out again: callbacks go in list order.
        accuracy = self._mean("val", "correct")
        module.log("val_loss", self._mean("val", "loss"))
        module.log("val_accuracy", accuracy)
        if accuracy > self.best:
            self.best = accuracy
            save_weights(module, self.out)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
        self.report(
            {
                "event": "epoch",
                "epoch": trainer.current_epoch + 1,
                "of": self.epochs,
                "train_loss": self._mean("train", "loss"),
                "train_accuracy": self._mean("train", "correct"),
                "validation_loss": self._mean("val", "loss"),
                "validation_accuracy": self._mean("val", "correct"),
                "learning_rate": float(rate),
                "seconds": round(time.monotonic() - self.started, 2),
            }
        )

    def _mean(self, part: str, what: str) -> float:
        return float(self.sums[f"{part}_{what}"] / max(1, self.counts[part])) if f"{part}_{what}" in self.sums else 0.0


def save_weights(module: torch.nn.Module, out: Path) -> None:
    """Write the weights through a second file, so that a stop in the middle leaves the last good ones."""
    partial = out / (WEIGHTS + ".partial")
    torch.save(module.state_dict(), partial)
    partial.replace(out / WEIGHTS)


def fit(
    components: Components,
    context: Context,
    data_folder: Path,
    out: Path,
    report: Report,
    limit: dict[str, Any] | None = None,
) -> Context:
    """Train within `context.fit_seconds` and leave the best epoch's weights in `out`.

    `limit` overrides Trainer arguments (the smoke run's few batches). Returns the context with the epochs and steps
    that were planned. Raises `ContractError`, `NonFiniteLoss`, or whatever the components raise.
    """
    started = time.monotonic()
    torch.set_num_threads(context.threads)
    # The log is for the engineers: what they decide, not how many cores and workers there are.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    pl.seed_everything(context.seed, workers=True, verbose=False)
    data = components.build_data(context)
    data.attach(data_folder)
    context, kwargs, thinned = _planned(components, context, data, limit is None, started, report)
    pl.seed_everything(context.seed, workers=True, verbose=False)
    data, model = components.build_data(context), components.build_model(context)
    data.attach(data_folder)
    # Validating on all images would take longer than a training that sees few of them.
    data.validation_rows = data.validation_rows[::thinned]
    callbacks: list[Callback] = [EpochLog(out, context.max_epochs, report)]
    decay = components.ema_decay()
    if decay is not None:
        callbacks.append(EMAWeightAveraging(decay=decay))
    trainer = pl.Trainer(
        **{**kwargs, "callbacks": callbacks + kwargs["callbacks"], **(limit or {})},
        max_time=timedelta(seconds=max(1.0, context.fit_seconds - (time.monotonic() - started))),
        accelerator=context.accelerator,
        devices=1,
        precision=context.precision,  # type: ignore[arg-type]  # Lightning checks the name
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=str(out),
    )
    trainer.fit(model, datamodule=data)
    if not (out / WEIGHTS).exists():
        # The time limit came before the first validation.
        save_weights(model, out)
    return context


def _planned(
    components: Components, context: Context, data: ImageDataModule, timed: bool, started: float, report: Report
) -> tuple[Context, dict[str, Any], int]:
    """The context with the epochs and steps of the training, Trainer arguments for them, and of how many validation
    images one is used. `timed`: whether the training is laid out to fit in the time limit."""
    images = len(data.train_rows)
    kwargs = components.trainer_kwargs(context.replace(train_images=images, steps_per_epoch=_whole(data)))
    batches = affordable = _limited(kwargs, _whole(data))
    if timed:
        wanted = kwargs["max_epochs"]
        context = context.replace(train_images=images, steps_per_epoch=batches)
        kwargs["max_epochs"], affordable = affordable_length(components, context, data, wanted, started, report)
    if affordable < batches:
        kwargs["limit_train_batches"] = affordable
        images = min(images, affordable * data.batch_size)
    steps = math.ceil(affordable / _accumulation(kwargs))
    context = context.replace(train_images=images, max_epochs=kwargs["max_epochs"], steps_per_epoch=steps)
    return context, kwargs, max(1, batches // affordable)


def _whole(data: ImageDataModule) -> int:
    """The batches of an epoch over all images."""
    return max(1, len(data.train_rows) // data.batch_size)


def _accumulation(kwargs: dict[str, Any]) -> int:
    value = kwargs.get("accumulate_grad_batches", 1)
    return value if isinstance(value, int) and value > 0 else 1


def _limited(kwargs: dict[str, Any], batches: int) -> int:
    """The batches of an epoch under Lightning's `limit_train_batches`: a number of them, or a share."""
    value = kwargs.get("limit_train_batches")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return batches
    return max(1, min(batches, value if isinstance(value, int) else int(value * batches)))


def affordable_length(
    components: Components, context: Context, data: ImageDataModule, wanted: int, started: float, report: Report
) -> tuple[int, int]:
    """The number of epochs and of batches an epoch that fit in the time limit, as a few timed steps show it.

    Schedules are laid out over the steps that are really trained, so a slow machine gets a shorter schedule rather
    than one that is cut off: fewer epochs than `wanted`, or a single one over a random part of the images.
    """
    model = components.build_model(context)
    device = torch.device("cuda" if torch.cuda.is_available() and context.accelerator != "cpu" else "cpu")
    model.to(device).train()
    durations: list[float] = []
    last = time.monotonic()
    for images, targets in data.train_dataloader():
        moved_images, moved_targets = data.batch_transform(images.to(device), targets.to(device))
        loss: Any = model.loss(model(moved_images), moved_targets)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.monotonic()
        durations.append(now - last)
        last = now
        if len(durations) == CALIBRATION_STEPS:
            break
    step = min(durations)
    left = context.fit_seconds - (time.monotonic() - started)
    batches = max(1, int(PLANNED_SHARE * left / step))
    fitting = batches // context.steps_per_epoch
    epoch = step * context.steps_per_epoch
    report({"event": "speed", "step_seconds": step, "epoch_seconds": epoch, "epochs_that_fit": fitting})
    return (min(wanted, fitting), context.steps_per_epoch) if fitting else (1, batches)


def load_weights(model: ImageClassifier, folder: Path) -> None:
    """Load what `fit` left. Only tensors are read from the file (`weights_only`)."""
    model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of the training images (default: those of the run)")
    parser.add_argument("--out", type=Path, default=here / "trained", help="where the weights go (default: trained/)")
    parser.add_argument("--seconds", type=float, help="time limit (default: the run's)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(here))
    context = Context.load(here / "context.json")
    if arguments.seconds:
        context = context.replace(fit_seconds=arguments.seconds)
    from class_folders import training_folder

    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = training_folder(arguments.data, here, context, arguments.out)
    fit(load_components(), context, folder, arguments.out, print_report)
    print(f"weights: {arguments.out / WEIGHTS}")


if __name__ == "__main__":
    main()
