"""Loads `data.py`, `model.py` and `training.py` and holds them to their contracts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from context import Context
from errors import ContractError
from pytorch_lightning.callbacks import Callback, EarlyStopping, GradientAccumulationScheduler
from template import ImageClassifier, ImageDataModule, to_tensor
from torch.nn.parameter import UninitializedParameter

TRAINER_KEYS = ("accumulate_grad_batches", "callbacks", "gradient_clip_algorithm", "gradient_clip_val", "max_epochs")
CALLBACKS = (EarlyStopping, GradientAccumulationScheduler)
MOST_EPOCHS, MOST_ACCUMULATED = 10_000, 1024


@dataclass(frozen=True)
class Components:
    """The three modules of a pipeline, and what was read from the training component."""

    data: ModuleType
    model: ModuleType
    training: ModuleType

    def build_data(self, context: Context) -> ImageDataModule:
        data = self.data.DataModule(context)
        data.batch_size = self.batch_size()
        if not isinstance(data, ImageDataModule):
            raise ContractError("data.py: class DataModule must subclass template.ImageDataModule.")
        return data

    def build_model(self, context: Context) -> ImageClassifier:
        model = self.model.Model(context)
        if not isinstance(model, ImageClassifier):
            raise ContractError("model.py: class Model must subclass template.ImageClassifier.")
        model.optimizers_from = self.training.configure_optimizers
        if _unmeasured(model):
            self._measure(model, context)
        unused = _unmeasured(model)
        if unused:
            raise ContractError(
                f"model.py: forward does not use self.{unused[0]}: use it, or delete it from __init__ "
                "(a layer that finds the size of its inputs has to see some)."
            )
        model.to(memory_format=torch.channels_last)
        return model

    def _measure(self, model: ImageClassifier, context: Context) -> None:
        """Layers that were not told their inputs (`nn.LazyLinear`, `nn.LazyConv2d`) find them at a black image."""
        black = to_tensor(np.zeros((1, *context.stored_size, context.channels), dtype=np.uint8))
        model.eval()
        with torch.no_grad():
            model(self.build_data(context).eval_transform()(black))
        model.train()

    def batch_size(self) -> int:
        size = self.training.batch_size
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 8192:
            raise ContractError(f"training.py: batch_size must be a whole number from 1 to 8192, not {size!r}.")
        return size

    def ema_decay(self) -> float | None:
        decay = getattr(self.training, "ema_decay", None)
        if decay is None or (isinstance(decay, float) and 0 < decay < 1):
            return decay
        raise ContractError(f"training.py: ema_decay must be a number between 0 and 1, or None, not {decay!r}.")

    def ema_horizon(self) -> float | None:
        horizon = getattr(self.training, "ema_horizon", None)
        if horizon is None or (isinstance(horizon, float) and 0 < horizon <= 1):
            return horizon
        raise ContractError(f"training.py: ema_horizon must be a share from 0 to 1, or None, not {horizon!r}.")

    def averaged(self, steps: int) -> float | None:
        """The decay of the moving average of the weights over a training of so many steps; None: there is none."""
        horizon = self.ema_horizon()
        return self.ema_decay() if horizon is None else max(0.0, 1 - 1 / max(1.0, horizon * steps))

    def trainer_kwargs(self, context: Context) -> dict[str, Any]:
        kwargs = self.training.trainer_kwargs(context)
        return checked_trainer_kwargs(kwargs)


def _unmeasured(model: ImageClassifier) -> list[str]:
    """The attributes of the model with layers that do not know the size of their inputs yet."""
    return list(
        dict.fromkeys(
            name.split(".")[0] for name, value in model.named_parameters() if isinstance(value, UninitializedParameter)
        )
    )


def checked_trainer_kwargs(kwargs: Any) -> dict[str, Any]:
    """Lightning Trainer arguments that a pipeline may set, with `callbacks` as a list; `max_epochs` is None where the
    training is to be as long as its limit. Raises `ContractError` naming a key that it may not set."""
    if not isinstance(kwargs, Mapping):
        raise ContractError(f"training.py: trainer_kwargs must return a dict, not {type(kwargs).__name__}.")
    for key in kwargs:
        if key not in TRAINER_KEYS:
            raise ContractError(
                f"training.py: trainer_kwargs may not set {key!r} (allowed: {', '.join(TRAINER_KEYS)}); the length of "
                "the training, its validations, devices, precision, logging and checkpoints are set for you."
            )
    epochs = _whole_number(kwargs, "max_epochs", MOST_EPOCHS)
    accumulated = _whole_number(kwargs, "accumulate_grad_batches", MOST_ACCUMULATED)
    callbacks = kwargs.get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if not isinstance(callback, Callback) or not isinstance(callback, CALLBACKS):
            names = ", ".join(c.__name__ for c in CALLBACKS)
            raise ContractError(
                f"training.py: callback {type(callback).__name__} is not allowed (allowed: {names}); the weights "
                "are kept for you, and ema_decay = 0.99 averages them."
            )
    listed = callbacks if isinstance(callbacks, list) else [callbacks]
    return {**kwargs, "max_epochs": epochs, "callbacks": list(listed), "accumulate_grad_batches": accumulated or 1}


def _whole_number(kwargs: Mapping[str, Any], key: str, most: int) -> int | None:
    value = kwargs.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most):
        return value
    raise ContractError(f"training.py: {key} must be a whole number from 1 to {most}, not {value!r}.")


def load_components() -> Components:
    """Import the three components from `sys.path`. Raises what they raise, or `ContractError` for a missing name."""
    modules = {name: importlib.import_module(name) for name in ("data", "model", "training")}
    for name, wanted in (
        ("data", ("DataModule",)),
        ("model", ("Model",)),
        ("training", ("batch_size", "trainer_kwargs", "configure_optimizers")),
    ):
        for attribute in wanted:
            if not hasattr(modules[name], attribute):
                raise ContractError(f"{name}.py must define {attribute}.")
    return Components(**modules)
