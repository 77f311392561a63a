"""Lightning's Trainer as every training here uses it, and the callbacks that pace, follow and average a training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import ranks
import torch
from context import Context
from device import precision_of, uses_gpu
from keeping import Keeper, State, copied, copied_state
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy
from template import ImageClassifier, ImageDataModule, NonFiniteLoss
from torch.optim.swa_utils import get_ema_multi_avg_fn

Report = Callable[[dict[str, Any]], None]
FINITE_CHECK = 20  # batches after which a GPU is asked whether the loss is finite: each question makes it wait


def trainer(
    context: Context, kwargs: Mapping[str, Any], callbacks: Sequence[Callback], out: Path, **limits: Any
) -> pl.Trainer:
    """A Trainer with the arguments of the training component; `limits` are ours and go before them."""
    return pl.Trainer(
        **{**kwargs, "callbacks": [*callbacks, *kwargs["callbacks"]], **limits},
        accelerator=context.accelerator,
        **sharing(context),
        precision=precision_of(context),  # type: ignore[arg-type]  # Lightning checks the name
        # Not what the variables of a cluster's scheduler would make of it.
        plugins=[LightningEnvironment()],
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=str(out),
    )


class Thawing(DDPStrategy):
    """Averages the gradients of all parameters, also of those that are frozen now and thaw later."""

    def _setup_model(self, model: torch.nn.Module) -> Any:
        frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
        able = [parameter for parameter in frozen if parameter.is_floating_point()]
        for parameter in able:
            parameter.requires_grad_(True)  # torch registers no others
        wrapped = super()._setup_model(model)
        for parameter in able:
            parameter.requires_grad_(False)
        return wrapped


def sharing(context: Context) -> dict[str, Any]:
    """The Trainer's arguments for its devices. The loaders give each its part of a batch (`ranks.SharedBatches`)."""
    several, strategy = ranks.size() > 1, "fsdp" if context.strategy == "fsdp" else "auto"
    return {
        "devices": ranks.size() // context.num_nodes,
        "num_nodes": context.num_nodes,
        # Layers may be frozen, or left out in a step: it is looked up which have gradients to be averaged.
        "strategy": Thawing(find_unused_parameters=True) if several and strategy == "auto" else strategy,
        "use_distributed_sampler": False,
        "sync_batchnorm": several and uses_gpu(context),  # torch has none for CPUs
    }


def averaging(decay: float | None, context: Context) -> list[Callback]:
    """The callback that validates and keeps a moving average of the weights, if there is one.

    Lightning has none for weights that are spread over devices.
    """
    if decay is None or context.strategy == "fsdp":
        return []
    return [WeightAveraging(use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(decay))]  # type: ignore[no-untyped-call]


class Pace(Callback):
    """Tells the components how far the training is, from 0 to 1, and ends it after its batches or at its deadline.

    That is the share of its batches; but where the machine has become slower than the plan (`by_clock`) it is the share
    of its time, so that schedules come to their end in any case.
    """

    def __init__(self, batches: int, deadline: float, data: ImageDataModule, by_clock: bool) -> None:
        self.batches, self.deadline, self.data, self.by_clock = batches, deadline, data, by_clock
        self.done = 0
        self.started = time.monotonic()
        self.agreed = 0.0

    def progress(self) -> float:
        """How far it is, now; of several processes, as they agreed on after the last batch."""
        return self._progress() if ranks.size() == 1 else self.agreed

    def _progress(self) -> float:
        share = self.done / self.batches
        if self.by_clock:
            share = max(share, (time.monotonic() - self.started) / max(1e-3, self.deadline - self.started))
        return min(1.0, share)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ImageClassifier)
        self.started = time.monotonic()
        module.pace = self.progress
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau:
                # It judges each validation, wherever in an epoch that is (`ImageClassifier.lr_scheduler_step`).
                schedule.interval, schedule.frequency, schedule.strict = "step", 1, False
        self._tell(module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self.done += 1
        self._tell(module)
        if self.done >= self.batches or ranks.any_of(time.monotonic() >= self.deadline):
            trainer.should_stop = True  # Lightning validates once more then

    def _tell(self, module: pl.LightningModule) -> None:
        assert isinstance(module, ImageClassifier)
        (self.agreed,) = ranks.largest(self._progress())
        module.told.value = self.data.told.value = self.progress()
        module.freeze_units()


class Log(Callback):
    """Follows the training: stops at a loss that is not finite, reports at each validation, offers its weights."""

    def __init__(self, pace: Pace, per_epoch: int, keeper: Keeper, report: Report, spread: bool = False) -> None:
        self.pace, self.per_epoch, self.keeper, self.report, self.spread = pace, per_epoch, keeper, report, spread
        self.last: State = {}
        self.started = time.monotonic()
        self.sums: dict[str, torch.Tensor] = {}
        self.counts = {"train": 0, "val": 0}
        self._clear("train")
        self._clear("val")

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._clear("val")

    def _clear(self, part: str) -> None:
        zero = torch.zeros(())
        self.sums[f"{part}_loss"], self.sums[f"{part}_correct"], self.counts[part] = zero, zero, 0

    def _add(self, part: str, outputs: Any, batch: Any) -> None:
        count = len(batch[1])
        loss, correct = outputs["loss"].detach().float(), outputs["correct"].detach().float()
        self.sums[f"{part}_loss"] = self.sums[f"{part}_loss"].to(loss.device) + loss * count
        self.sums[f"{part}_correct"] = self.sums[f"{part}_correct"].to(loss.device) + correct
        self.counts[part] += count

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self._add("train", outputs, batch)
        if module.device.type == "cpu" or self.pace.done % FINITE_CHECK == 0:
            self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if not math.isfinite(self.sums["train_loss"].item()):
            raise NonFiniteLoss(f"the training loss is not finite at step {trainer.global_step}.")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int, j: int = 0
    ) -> None:
        self._add("val", outputs, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # This runs before averaged weights are swapped out again: callbacks go in list order.
        self._check(trainer)
        accuracy = self._mean("val", "correct")
        module.log("val_loss", self._mean("val", "loss"))
        module.log("val_accuracy", accuracy)
        assert isinstance(module, ImageClassifier)
        module.validations += 1
        images = int(ranks.sums(self.counts["val"])[0])
        if self.spread:
            # All processes have to ask for what is spread over their devices; the first one has it then.
            self.last = copied_state(trainer.strategy.lightning_module_state_dict())
        if ranks.rank() == 0:
            weights = partial(self.weights, module)
            self.keeper.offer(weights, accuracy, images, self.pace.done / self.pace.batches)
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else 0.0
        self.report(
            {
                "event": "epoch",
                "epoch": round(self.pace.done / self.per_epoch, 2),
                "of": round(self.pace.batches / self.per_epoch, 2),
                "step": self.pace.done,
                "train_loss": self._mean("train", "loss"),
                "train_accuracy": self._mean("train", "correct"),
                "validation_loss": self._mean("val", "loss"),
                "validation_accuracy": accuracy,
                "learning_rate": float(rate),
                "seconds": round(time.monotonic() - self.started, 2),
            }
        )
        self.started = time.monotonic()
        self._clear("train")

    def weights(self, module: pl.LightningModule) -> State:
        """The whole model's; where they are spread over devices, those of the last validation."""
        return self.last if self.spread else copied(module)

    def _mean(self, part: str, what: str) -> float:
        total, count = ranks.sums(float(self.sums[f"{part}_{what}"]), self.counts[part])
        return total / max(1, count)
