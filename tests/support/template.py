"""The template's modules as a pipeline sees them, and components made of source text, for tests in this process."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from improve.pipeline.export import TEMPLATE

DATA = """
from template import ImageDataModule

class DataModule(ImageDataModule):
    pass
"""
MODEL = """
import torch
from torch import nn
from template import ImageClassifier

class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1))
        self.second = nn.Linear(16, context.num_classes)

    def forward(self, images):
        return self.second(self.first(images))
"""
TRAINING = """
import torch

batch_size = 32

def trainer_kwargs(context):
    return {"max_epochs": 2}

def configure_optimizers(model, context):
    return torch.optim.AdamW(model.parameters(), lr=0.01)
"""


@functools.cache
def template() -> SimpleNamespace:
    """torch, and the template's modules by name. They import each other by bare names, so its folder is on the path."""
    if str(TEMPLATE) not in sys.path:
        sys.path.append(str(TEMPLATE))
    names = (
        "torch", "augment", "classifier", "components", "context", "keeping", "plan", "predict", "preparing", "running",
        "compiling", "samples", "smoke", "template", "to_onnx", "train", "worker",
    )  # fmt: skip
    modules = {name: importlib.import_module(name) for name in names}
    modules["torch"].set_num_threads(1)
    return SimpleNamespace(**modules)


def components(data: str = "", model: str = "", training: str = "") -> Any:
    """Small working components, each with `source` added to its end."""
    return template().components.Components(
        _module("data", DATA + data), _module("model", MODEL + model), _module("training", TRAINING + training)
    )


def _module(name: str, source: str) -> ModuleType:
    module = ModuleType(f"{name}_of_a_test")
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module


def context(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "classes": ["a", "b", "c", "d"],
        "height": 8,
        "width": 8,
        "channels": 1,
        "mean": [0.4],
        "std": [0.25],
        "train_images": 160,
        "images_per_class": [40] * 4,
        "accelerator": "cpu",
    }
    return template().context.Context.from_dict({**values, **changes})


def train_folder(folder: Path, images: int = 160) -> Path:
    """Grey 8 × 8 squares whose bright quarter is the class."""
    generator = np.random.default_rng(0)
    labels = np.arange(images) % 4
    pixels = generator.normal(90, 30, (images, 8, 8, 1))
    for row, label in enumerate(labels):
        pixels[row, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 60
    np.save(folder / "images.npy", pixels.clip(0, 255).astype(np.uint8))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    return folder
