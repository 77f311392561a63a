"""The dataset card: compact YAML that the architect and the analyst read. From the training images alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from improve.datasets.dataset import Dataset

MOST_CLASSES = 60  # names that are listed; of more classes the first ones stand for all
BINARY = 0.9  # share of pixels that are black or white, from which grey images are called binary


def text(dataset: Dataset) -> str:
    """The card as YAML; `yaml.safe_load` gives the dict back."""
    names = list(dataset.class_names)
    if len(names) > MOST_CLASSES:
        names = [*names[:MOST_CLASSES], f"… and {len(names) - MOST_CLASSES} more"]
    per_class = np.array(dataset.images_per_class)
    stored = {"stored": f"{dataset.stored} × {dataset.stored}"} if dataset.stored else {}
    content: dict[str, Any] = {
        "name": dataset.name,
        "description": dataset.description,
        "task": f"{len(dataset.class_names)}-class image classification",
        "classes": names,
        "counts": dict(dataset.counts),
        "images_per_class": _spread(per_class),
        "imbalance": round(float(per_class.max() / per_class.min()), 2),
        "image": {"height": dataset.height, "width": dataset.width, "channels": dataset.channels, **stored},
        **dataset.facts,
        "pretrained_weights": [_weights(*pair) for pair in dataset.pretrained.items()] or "none at hand",
        "notes": list(dataset.findings),
    }
    if dataset.required_model:
        content["constraints"] = {"model": f"built on the whole {dataset.required_model} of timm; a check sees to it"}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _weights(name: str, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Pretrained weights at hand, and the normalisation that they were trained with."""
    return {"name": name, "mean": _rounded(weights["mean"]), "std": _rounded(weights["std"])}


def facts(
    images: np.ndarray, heights: np.ndarray, widths: np.ndarray, formats: list[str]
) -> tuple[dict[str, Any], list[float], list[float]]:
    """What the card says of N prepared training images (N × H × W × C uint8) and their originals; mean and std."""
    histogram = _histogram(images)
    mean, std = _moments(histogram)
    extreme = float(histogram[:, [0, 255]].sum() / histogram.sum())
    grey = "binary" if extreme >= BINARY else "grey"
    content = {
        "original": {
            "height": _spread(heights),
            "width": _spread(widths),
            "formats": dict(Counter(formats).most_common()),
        },
        "pixels": {
            "kind": "colour" if images.shape[-1] == 3 else grey,
            "mean": _rounded(mean),
            "std": _rounded(std),
            "black_or_white": round(extreme, 4),
        },
    }
    return content, mean, std


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 4) for value in values]


def _moments(histogram: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (at least one grey level) per channel, in [0, 1], of C × 256 pixel counts."""
    levels = np.arange(256) / 255
    total = histogram.sum(axis=1)
    mean = histogram @ levels / total
    variance = histogram @ levels**2 / total - mean**2
    std = np.sqrt(np.maximum(variance, 1 / 255**2))
    return mean.tolist(), std.tolist()


def _histogram(images: np.ndarray) -> np.ndarray:
    """C × 256 pixel counts of N × H × W × C uint8 images, read a few megabytes at a time."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    step = max(1, 2**22 // max(1, images[:1].size))
    for start in range(0, len(images), step):
        block = np.asarray(images[start : start + step])
        for channel in range(channels):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    return counts


def _spread(values: np.ndarray) -> dict[str, int]:
    return {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}
