"""Ideas for the Training Engineer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from improve.expert.idea import Idea
from improve.expert.moves_model import residual_pays
from improve.expert.recipe import Settings
from improve.expert.situation import Situation

ADAMW_RATE, SGD_RATE = 0.015, 0.2  # highest rates of a one-cycle schedule that small normalised networks like
FINE_TUNING_RATE = 0.002
PROBED_RATE = 3e-4  # where the classifier starts as the best linear one: higher rates only spoil it


def training_ideas(now: Situation) -> Iterator[Idea]:
    yield from _steadier(now)
    yield from _time(now)
    yield from _rates(now)
    yield from _batches(now)
    yield from _averaging(now)
    yield from _decay(now)


def _steadier(now: Situation) -> Iterator[Idea]:
    training = now.recipes.training
    if now.unstable:
        yield Idea(
            "lower-learning-rate", "training", {"lr": training.lr / 3, "clip": 1.0}, 0.3,
            "The training loss jumps up again after it had fallen: the learning rate is too high.",
            f"Lower the highest learning rate from {training.lr:.4g} to {training.lr / 3:.4g} and clip the gradient's "
            "norm at 1.",
        )  # fmt: skip


def _time(now: Situation) -> Iterator[Idea]:
    """A schedule that uses the time and ends at a learning rate of zero."""
    training = now.recipes.training
    # A plain network will be replaced by a better one, which wants time too; unless that was tried in vain.
    tried = any("residual-network" in step.ideas for step in now.facts.history)
    replaceable = now.recipes.model.family == "plain" and not tried and residual_pays(now)
    share = now.full * (0.7 if replaceable else 1.0)
    hungry = 0.32 if now.underfits else 0.22 if now.rising or now.train is None else 0.1
    if now.recipes.model.family == "pretrained" and now.recipes.model.frozen == 1:
        # A classifier on frozen features has learnt all it can after a few epochs; the time is for the backbone.
        share, hungry = now.full * 0.5, 0.05
    epochs = now.epochs_for(share, now.recipes)
    more = math.log2(epochs / training.epochs) if epochs > training.epochs else 0.0
    evidence = _about_time(now)
    if training.schedule != "onecycle":
        yield _one_cycle(now, share, hungry, evidence)
    if more > 0.2:
        yield Idea(
            "longer-training", "training", {"epochs": epochs}, hungry * min(2.0, more), evidence,
            f"Train for {epochs} epochs instead of {training.epochs}; let the schedule span all of them.",
        )  # fmt: skip
    if now.overfits and training.epochs >= 8 and not now.rising:
        yield Idea(
            "shorter-training", "training", {"epochs": max(2, round(training.epochs * 0.6))}, 0.04,
            "The training images are learnt by heart and the validation accuracy has stopped growing.",
            f"Train for {max(2, round(training.epochs * 0.6))} epochs instead of {training.epochs}.",
        )  # fmt: skip


def _one_cycle(now: Situation, share: float, hungry: float, evidence: str) -> Idea:
    training, high = now.recipes.training, _best_rate(now)
    batch = training.batch_size * 2
    larger = now.recipes.changed({"batch_size": batch})
    epochs = now.epochs_for(share, larger)
    # Larger batches cost less time an image; worth it if enough steps are left to learn in.
    if now.share(larger) > 0.93 * now.used or now.task.train_images // batch * epochs < 350 or batch > 128:
        batch, epochs = training.batch_size, now.epochs_for(share, now.recipes)
    more = math.log2(epochs / training.epochs) if epochs > training.epochs else 0.0
    longer = more > 0.2
    epochs = epochs if longer else training.epochs
    settings: Settings = {
        "schedule": "onecycle", "lr": high, "epochs": epochs, "batch_size": batch, "warmup": 0.25
    }  # fmt: skip
    return Idea(
        "one-cycle", "training", settings, 0.12 + (hungry * min(2.0, more) if longer else 0.0), evidence,
        f"Use a one-cycle schedule that rises to a learning rate of {high:.4g} in the first quarter and falls to zero, "
        f"over {epochs} epochs in batches of {batch} images.",
    )  # fmt: skip


def _about_time(now: Situation) -> str:
    used = f"only about {max(1, round(now.used * 20)) * 5}% of the time limit is used" if now.used < 0.6 else (
        "there is some time left"
    )  # fmt: skip
    if now.train is None:
        return f"{used[0].upper()}{used[1:]}."
    return f"Training accuracy ended at {now.train:.0%}{' and was still rising' if now.rising else ''}, and {used}."


def _best_rate(now: Situation) -> float:
    training = now.recipes.training
    model = now.recipes.model
    if model.family == "pretrained":
        if model.probe:
            return PROBED_RATE
        return FINE_TUNING_RATE if model.frozen < 1 else 0.005
    if training.optimizer == "sgd":
        return SGD_RATE
    return ADAMW_RATE if training.batch_size >= 48 else ADAMW_RATE * 0.6


def _rates(now: Situation) -> Iterator[Idea]:
    training, pretrained = now.recipes.training, now.recipes.model.family == "pretrained"
    usual = _best_rate(now)
    for factor, name, word in ((2.0, "higher-learning-rate", "slow"), (0.5, "lower-learning-rate", "coarse")):
        rate = training.lr * factor
        # Far from what usually works is worth more than beyond it.
        towards = math.log2(usual / training.lr) * math.log2(factor)
        value = 0.07 if towards > 0.5 else 0.035 if towards > -1.2 else 0.01
        value *= 1.5 if now.underfits and factor > 1 and not pretrained else 1.0
        if now.unstable and factor > 1:
            value = 0.005
        yield Idea(
            name, "training", {"lr": rate}, value, f"Learning may be too {word} for the number of steps.",
            f"Change the highest learning rate from {training.lr:.4g} to {rate:.4g}.",
        )  # fmt: skip
    if pretrained and now.recipes.model.frozen < 1:
        slower = 0.1 if training.backbone_lr >= 0.3 else training.backbone_lr * 3
        yield Idea(
            "backbone-rate", "training", {"backbone_lr": slower}, 0.06,
            "A pretrained backbone and a new classifier want different learning rates.",
            f"Give the parameters of model.backbone {slower:.3g} times the learning rate of the classifier.",
        )  # fmt: skip
    other = "sgd" if training.optimizer == "adamw" else "adamw"
    rate = SGD_RATE if other == "sgd" else ADAMW_RATE
    if pretrained:
        rate /= 8
    settings: Settings = {"optimizer": other, "lr": rate, "weight_decay": 5e-4 if other == "sgd" else 0.05}
    named = "SGD with Nesterov momentum" if other == "sgd" else "AdamW"
    yield Idea(
        other, "training", settings, 0.03, "Another optimiser may generalise better.",
        f"Use {named}, highest learning rate {rate:.4g}, weight decay {settings['weight_decay']:g}.",
    )  # fmt: skip


def _batches(now: Situation) -> Iterator[Idea]:
    training = now.recipes.training
    half, double = training.batch_size // 2, training.batch_size * 2
    if half >= 16:
        value = 0.1 if now.steps < 500 else 0.05 if now.steps < 2500 else 0.02
        value *= 0.5 if now.overfits or training.batch_size <= 32 else 1.0
        epochs = min(training.epochs, now.epochs_for(now.full, now.recipes.changed({"batch_size": half})))
        value *= (epochs / training.epochs) ** 2
        settings: Settings = {"batch_size": half, **({"epochs": epochs} if epochs < training.epochs else {})}
        fewer = f" and {epochs} epochs, so that it stays within the time" if epochs < training.epochs else ""
        yield Idea(
            "smaller-batches", "training", settings, value,
            f"The optimiser makes only about {now.steps:,} steps in the whole training.",
            f"Use batches of {half} images instead of {training.batch_size}{fewer}.",
        )  # fmt: skip
    if double <= min(512, now.task.train_images // 8):
        rate, larger = training.lr * 1.4, now.recipes.changed({"batch_size": double})
        epochs = max(training.epochs, now.epochs_for(now.full, larger))
        faster = now.share(larger) < 0.9 * now.used and epochs > training.epochs and now.steps > 800
        yield Idea(
            "larger-batches", "training", {"batch_size": double, "lr": rate, "epochs": epochs},
            0.05 if faster else 0.015, "Larger batches cost less time an image, and every step is surer.",
            f"Use batches of {double} images, a highest learning rate of {rate:.4g} and {epochs} epochs.",
        )  # fmt: skip


def _averaging(now: Situation) -> Iterator[Idea]:
    training = now.recipes.training
    # An average over about a tenth of the training: long enough to smooth, short enough to forget the beginning.
    decay = round(min(0.999, max(0.9, 1 - 10 / now.steps)), 3)
    if not training.ema:
        yield Idea(
            "weight-averaging", "training", {"ema": decay}, 0.05 if training.schedule == "constant" else 0.03,
            "The last steps still wander around the minimum.",
            f"Keep an exponential moving average of the weights (ema_decay = {decay}).",
        )  # fmt: skip
    else:
        yield Idea(
            "no-averaging", "training", {"ema": 0.0}, 0.01, "The average may lag behind.", "Set ema_decay to None."
        )


def _decay(now: Situation) -> Iterator[Idea]:
    training = now.recipes.training
    if training.optimizer == "adamw":
        higher, lower = (0.05 if training.weight_decay < 0.03 else training.weight_decay * 2), training.weight_decay / 4
    else:
        higher, lower = max(5e-4, training.weight_decay * 3), training.weight_decay / 4
    yield Idea(
        "more-weight-decay", "training", {"weight_decay": higher}, 0.05 if now.overfits else 0.02,
        "Training accuracy is well above what holds on new images." if now.overfits else "Large weights can overfit.",
        f"Raise the weight decay from {training.weight_decay:.4g} to {higher:.4g}.",
    )  # fmt: skip
    yield Idea(
        "less-weight-decay", "training", {"weight_decay": lower}, 0.015 if now.underfits else 0.005,
        "The network does not even learn the training images well." if now.underfits else "Decay may hold it back.",
        f"Lower the weight decay from {training.weight_decay:.4g} to {lower:.4g}.",
    )  # fmt: skip
