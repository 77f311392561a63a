"""What a pipeline is told of its task, the machine and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from improve.config.schema import ExecutorConfig
from improve.datasets import Dataset
from improve.execution import machine
from improve.execution.cell import limits_of
from improve.execution.fit import patience


def told(
    data: Dataset, config: ExecutorConfig, slots: int, seed: int, weights: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """As `template/context.py` reads it. `weights`: pretrained ones at hand, by timm's name."""
    gpu = machine.uses_gpu(config)
    return {
        "classes": list(data.class_names),
        "height": data.height,
        "width": data.width,
        "channels": data.channels,
        "stored": data.stored,
        "fit": data.fit,
        "white": data.white,
        "mean": list(data.mean),
        "std": list(data.std),
        "train_images": data.counts["train"],
        "images_per_class": list(data.images_per_class),
        "seed": seed,
        "fit_seconds": config.fit_seconds,
        "patience": patience(slots),
        "steps": config.steps or 0,
        "disk_bytes": limits_of(config).disk_bytes,
        "threads": machine.training_threads(config, slots),
        "devices": config.devices,
        "num_nodes": config.num_nodes,
        "strategy": config.strategy,
        "workers": config.workers,
        "accelerator": "gpu" if gpu else "cpu",
        "precision": config.precision,
        "compile": machine.compile_mode(config),
        "hardware": machine.description(config),
        "required_model": data.required_model,
        "pretrained": {name: dict(file) for name, file in weights.items()},
    }
