"""How long a training is, decided before it begins: in batches, so that schedules can be laid out over all of them.

A limit in seconds becomes a number of batches by trying the training out: a few dozen of its own steps, with its hooks,
its optimiser, its loader and a part of its validation. Where the speed of the pipeline that it revises is known, and
its own is the same but for the luck of a measurement, it gets as many batches as that one.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compiling
import pytorch_lightning as pl
import ranks
import torch
from components import Components
from context import Context
from errors import ContractError
from preparing import Preparation
from pytorch_lightning.callbacks import Callback, GradientAccumulationScheduler
from running import averaging, trainer
from template import ImageClassifier, ImageDataModule

# Share of the time limit at whose end a planned training is: the rest is for slower moments.
PLANNED_SHARE = 0.98
# A training is tried out for this share of its time limit, but for no more seconds and steps than these.
TRIED_SHARE, TRIED_SECONDS, TRIED_STEPS = 0.03, 3.0, 120
WARM_UP = 2  # steps that are not counted: memory is found and kernels are chosen in them
MOMENTS = 4  # of a training whose steps change with its progress, at which they are tried out
CHUNKS = 5  # of the tried steps; the median of their means bears a slow moment, and counts what is due now and then
TRIED_VALIDATION = 3  # batches
LEAST_PART = 2  # images of a batch for each device: of one, batch normalisation has no variance
MOST_VALIDATIONS = 12
VALIDATION_SHARE = 0.06  # of the time, at most
# By how much the measured time of a step may differ from that of the pipeline that it revises and still be called the
# same. The second is for a change of the training component alone, which seldom makes steps slower.
TOLERANCE, TOLERANCE_SAME = 1.1, 1.5


@dataclass(frozen=True)
class Plan:
    """A training's length in batches, and when it is validated. `fitting`: the batches that fit in the time limit, 0 if
    that was not measured; `thinned`: of how many validation images one is used; `compiled`: whether its steps are
    compiled, "yes", "no" (tried in vain, here or in what it revises) or "" (not tried)."""

    batches: int
    per_epoch: int
    validations: int
    thinned: int = 1
    fitting: int = 0
    step_seconds: float = 0.0  # for a batch
    validation_seconds: float = 0.0  # for one validation
    compiled: str = ""
    compile_gain: float = 0.0  # how many times as many steps fit as without; 0: not measured
    compile_seconds: float = 0.0  # that trying it took

    @property
    def epochs(self) -> int:
        """Epochs that are begun."""
        return math.ceil(self.batches / self.per_epoch)

    @property
    def interval(self) -> int:
        """Batches from one validation to the next."""
        return math.ceil(self.batches / self.validations)

    def event(self, batch_size: int) -> dict[str, Any]:
        return {
            "event": "plan",
            "steps": self.batches,
            "steps_that_fit": self.fitting,
            "steps_per_epoch": self.per_epoch,
            "step_seconds": self.step_seconds,
            "batch_size": batch_size,
            "compiled": self.compiled,
            "compile_gain": round(self.compile_gain, 3),
            "compile_seconds": round(self.compile_seconds, 2),
        }


@dataclass(frozen=True)
class Tried:
    """What trying a training out has shown: seconds of a step, of a whole validation, and of what comes before."""

    step: float
    validation: float
    start: float


def plan(
    components: Components, context: Context, folder: Path, out: Path, started: float, preparation: Preparation
) -> tuple[Plan, Context]:
    """The plan of a training that began at `started` (monotonic), and the context that knows it."""
    data = components.build_data(context)
    data.attach(folder)
    if components.batch_size() < LEAST_PART * context.processes:
        raise ContractError(
            f"training.py: batch_size must be at least {LEAST_PART * context.processes}: it is divided among "
            f"{context.processes} devices."
        )
    per_epoch = len(data.train_dataloader())
    context = context.replace(train_images=len(data.train_rows), steps_per_epoch=per_epoch)
    wanted = int(context.longer * wanted_batches(components.trainer_kwargs(context), per_epoch))

    def compiled() -> Tried:
        return try_out(components, context, folder, out, wanted, preparation, compiled=True)

    if context.steps:
        made = by_steps(wanted, per_epoch, context.steps)
        if context.compile == "on":
            made = dataclasses.replace(made, compiled="yes" if compiling.tried(compiled, context) else "no")
    else:

        def timed(tried: Tried) -> Plan:
            left = PLANNED_SHARE * context.fit_seconds - (time.monotonic() - started) - tried.start
            return by_time(wanted, per_epoch, tried, left)

        tried = try_out(components, context, folder, out, wanted, preparation)
        made = timed(tried)
        if may_pay(made, context):
            began = time.monotonic()
            quick = compiling.tried(compiled, context)
            made = the_longer(timed(tried), timed(quick) if quick else None, time.monotonic() - began)
            tried = quick if quick and made.compiled == "yes" else tried
        elif context.compile == "auto" and in_vain(context):
            made = dataclasses.replace(made, compiled="no")
        made = as_the_reference(made, wanted, tried, context, components.batch_size())
    made = ranks.shared(made)
    return made, planned_context(context, made, components.trainer_kwargs(context))


def by_steps(wanted: int, per_epoch: int, limit: int) -> Plan:
    """A plan for at most `limit` batches, that no clock has a part in."""
    batches = min(wanted, limit)
    validations = min(MOST_VALIDATIONS, max(1, round(batches / per_epoch)))
    # Validating on all images would take longer than a training that sees few of them.
    return Plan(batches, per_epoch, validations, max(1, per_epoch // batches), fitting=limit)


def by_time(wanted: int, per_epoch: int, tried: Tried, left: float) -> Plan:
    """A plan for `left` seconds: as many batches as are wanted, or as fit beside the validations."""
    left = max(left, 0.0)
    thinned = max(1, math.ceil(tried.validation / max(VALIDATION_SHARE * left, 1e-3)))
    validation = tried.validation / thinned
    affordable = max(1, int(VALIDATION_SHARE * left / max(validation, 1e-6)))
    epochs = round(min(wanted, left / tried.step) / per_epoch)
    validations = min(MOST_VALIDATIONS, affordable, max(1, epochs))
    fitting = max(1, int((left - validations * validation) / tried.step))
    batches = min(wanted, fitting)
    return Plan(batches, per_epoch, min(validations, batches), thinned, fitting, tried.step, validation)


def may_pay(made: Plan, context: Context) -> bool:
    """Whether it is to be tried if more steps fit where they are compiled."""
    if made.batches != made.fitting:  # all that are wanted fit
        return False
    return context.compile == "on" or (context.compile == "auto" and not in_vain(context))


def in_vain(context: Context) -> bool:
    """Whether it was of no use to the pipeline that this one revises, and would not be here either."""
    known = context.reference
    return known is not None and known.same_but_training and known.compiled == "no"


def the_longer(plain: Plan, compiled: Plan | None, seconds: float) -> Plan:
    """Of two plans for the time that is left the one with more steps. `seconds`: that trying to compile took."""
    gain = compiled.fitting / plain.fitting if compiled else 0.0
    pays = compiled is not None and gain >= compiling.LEAST_GAIN
    chosen, told = (compiled, "yes") if compiled and pays else (plain, "no")
    return dataclasses.replace(chosen, compiled=told, compile_gain=gain, compile_seconds=seconds)


def as_the_reference(made: Plan, wanted: int, tried: Tried, context: Context, batch_size: int) -> Plan:
    """The plan with as many batches as those of the pipeline that it revises, if a batch takes as long as there."""
    known = context.reference
    if known is None or known.batch_size != batch_size or known.steps_per_epoch != made.per_epoch:
        return made
    tolerance = TOLERANCE_SAME if known.same_but_training else TOLERANCE
    # Code that nobody trusts has told how many steps it had: it shall not have its successors lay out a million.
    alike = 1 / tolerance <= tried.step / known.step_seconds <= tolerance
    if not alike or known.steps_that_fit > TOLERANCE_SAME**2 * made.fitting:
        return made
    batches = min(wanted, known.steps_that_fit)
    return dataclasses.replace(
        made, batches=batches, validations=min(made.validations, batches), fitting=known.steps_that_fit,
        step_seconds=known.step_seconds,
    )  # fmt: skip


def wanted_batches(kwargs: Mapping[str, Any], per_epoch: int) -> int:
    """The batches that `max_epochs` asks for; without it, more than any time limit allows."""
    epochs = kwargs["max_epochs"]
    return int(epochs * per_epoch) if epochs else 10**9


def planned_context(context: Context, made: Plan, kwargs: Mapping[str, Any]) -> Context:
    """The context that knows the plan: epochs that are begun, and optimiser steps of an epoch and in all."""
    per_epoch, whole, rest = made.per_epoch, made.batches // made.per_epoch, made.batches % made.per_epoch
    # Lightning makes a step with what has accumulated at the end of an epoch, but not where a training stops.
    steps = sum(math.ceil(per_epoch / accumulation(kwargs, epoch)) for epoch in range(whole))
    steps += rest // accumulation(kwargs, whole)
    return context.replace(
        max_epochs=made.epochs,
        steps_per_epoch=math.ceil(per_epoch / accumulation(kwargs, 0)),
        planned_steps=max(1, steps),
    )


def accumulation(kwargs: Mapping[str, Any], epoch: int) -> int:
    """Batches whose gradients are added up for one optimiser step in an epoch (from 0)."""
    for callback in kwargs.get("callbacks", []):
        if isinstance(callback, GradientAccumulationScheduler):
            return int(callback.scheduling[max(start for start in callback.scheduling if start <= epoch)])
    return int(kwargs.get("accumulate_grad_batches", 1))


class Stopwatch(Callback):
    """Times steps, and a part of a validation, of a training that is tried out; ends it when they are enough."""

    def __init__(self, data: ImageDataModule, seconds: float, steps: int, compiled: bool = False) -> None:
        self.data, self.seconds, self.steps, self.compiled = data, seconds, steps, compiled
        self.durations: list[float] = []
        self.first = self.last = self.validation = 0.0
        self.counted_from = 0.0  # the moment from which on it takes `seconds`: compiling is not in them
        self.validated = 0
        self.changing = False  # whether the steps depend on the progress, as far as is known

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.first:
            self.first = self.last = self.counted_from = now(module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        # From the end of one step to that of the next: loader, transforms, hooks and other callbacks are in it.
        moment = now(module)
        self.durations.append(moment - self.last)
        self.last = moment
        if self.compiled and len(self.durations) <= WARM_UP:
            self.counted_from = moment
        assert isinstance(module, ImageClassifier)
        self.changing = self.changing or module.told.asked or self.data.told.asked or callable(module.frozen)
        least = MOMENTS if self.changing else 2
        enough = len(self.durations) - WARM_UP >= least and moment - self.counted_from >= self.seconds
        trainer.should_stop = ranks.any_of(enough or len(self.durations) >= self.steps)
        if self.changing:
            moment_of_it = (len(self.durations) % MOMENTS + 0.5) / MOMENTS
            module.told.value = self.data.told.value = moment_of_it
            module.freeze_units()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validation = now(module)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int, j: int = 0
    ) -> None:
        self.validated += ranks.size() * len(batch[1])

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validation = now(module) - self.validation

    def step(self) -> float:
        """The typical step's seconds: the median over some parts of the trial of their mean.

        Where steps change with the progress of the training, the mean over its moments of their medians.
        """
        if self.changing and len(self.durations) > MOMENTS:
            later = self.durations[MOMENTS if len(self.durations) >= 2 * MOMENTS else 1 :]
            moments = [later[i::MOMENTS] for i in range(min(MOMENTS, len(later)))]
            return max(1e-6, statistics.fmean(statistics.median(moment) for moment in moments))
        counted = self.durations[WARM_UP:] or self.durations[-1:]
        size = max(1, len(counted) // CHUNKS)
        chunks = [counted[i : i + size] for i in range(0, len(counted) - size + 1, size)]
        return max(1e-6, statistics.median(statistics.fmean(chunk) for chunk in chunks))


def now(module: pl.LightningModule) -> float:
    """The monotonic clock, once the device has done what it was asked to."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.monotonic()


def try_out(
    components: Components,
    context: Context,
    folder: Path,
    out: Path,
    wanted: int,
    preparation: Preparation,
    compiled: bool = False,
) -> Tried:
    """Carry out the beginning of the training, as it will be, and throw its outcome away."""
    pl.seed_everything(context.seed, workers=True, verbose=False)
    data, model = components.build_data(context), components.build_model(context)
    data.attach(folder)
    kwargs = components.trainer_kwargs(context)
    longest = Plan(min(wanted, 10**6), context.steps_per_epoch, 1)
    preparation.apply(model, data)
    began = time.monotonic()
    model.context = data.context = longer = planned_context(context, longest, kwargs)
    seconds, steps = min(TRIED_SECONDS, TRIED_SHARE * context.fit_seconds), max(1, min(wanted, TRIED_STEPS))
    stopwatch = Stopwatch(data, seconds, steps, compiled)
    # Early stopping has a memory of its own, and is not to stop what is only tried.
    kwargs["callbacks"] = [c for c in kwargs["callbacks"] if isinstance(c, GradientAccumulationScheduler)]
    callbacks = [stopwatch, *averaging(components.averaged(longer.total_steps), context)]
    callbacks += [compiling.compile_steps(model, out)] if compiled else []
    runner = trainer(context, kwargs, callbacks, out, max_epochs=-1, limit_val_batches=TRIED_VALIDATION)
    runner.fit(model, datamodule=data)
    images = len(data.validation_rows)
    return Tried(stopwatch.step(), stopwatch.validation * images / max(1, stopwatch.validated), stopwatch.first - began)
