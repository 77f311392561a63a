"""What the plain scripts share: their arguments, the images, and the clock that their schedules follow.

Standard tools only: nothing here is of the template.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MEAN, STD = 0.5, 0.5  # of EfficientNet-Lite0's images


@dataclass
class Task:
    """Images as floats `N × C × H × W`, channels-last; `seconds` from the script's start on."""

    images: Tensor
    labels: Tensor
    test: Tensor
    answers: Tensor
    seconds: float
    weights: Path | None
    began: float

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def progress(self, reserved: float = 0.06) -> float:
        """How far the time is, from 0 to 1; a share of it is left for the answers."""
        return min(1.0, (time.monotonic() - self.began) / (self.seconds * (1 - reserved)))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches until the time is over."""
        while True:
            order = torch.randperm(len(self.images))
            for rows in order[: max(size, len(order) // size * size)].split(size):  # type: ignore[no-untyped-call]
                if self.progress() >= 1:
                    return
                yield self.images[rows], self.labels[rows]

    def report(self, answer: Callable[[Tensor], Tensor]) -> None:
        """Print the share of test images that the mean over each image and its mirror image gets right."""
        with torch.no_grad():
            logits = torch.cat([answer(part) + answer(part.flip(3)) for part in self.test.split(64)])  # type: ignore[no-untyped-call]
        print(f"accuracy {(logits.argmax(1) == self.answers).double().mean().item():.4f}")


def task() -> Task:
    """The task that the command line names: TRAIN.npz TEST.npz --seconds S --seed N [--weights FILE]."""
    began = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    images, labels = _read(given.train)
    test, answers = _read(given.test)
    return Task(images, labels, test, answers, given.seconds, given.weights, began)


def _read(file: Path) -> tuple[Tensor, Tensor]:
    held = np.load(file)
    images = torch.from_numpy(held["images"].transpose(0, 3, 1, 2).copy()).float().div_(255).sub_(MEAN).div_(STD)
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(held["labels"])


def backbone(weights: Path | None) -> nn.Module:
    """EfficientNet-Lite0 without its classifier, channels-last; grey images are given to all three channels."""
    import timm

    overlay = {"file": str(weights)}
    options: dict[str, Any] = {"pretrained": True, "pretrained_cfg_overlay": overlay} if weights else {}
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=0, **options)
    return network.to(memory_format=torch.channels_last)


def shifted(images: Tensor, pixels: int) -> Tensor:
    """Each image mirrored or not and moved by up to so many pixels, as its border goes on."""
    images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
    padded = nn.functional.pad(images, (pixels,) * 4, mode="replicate")
    height, width = images.shape[2:]
    corners = torch.randint(0, 2 * pixels + 1, (len(images), 2)).tolist()
    moved = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, corners, strict=True)]
    return torch.stack(moved).contiguous(memory_format=torch.channels_last)


class Average:
    """A moving average of a network's weights and statistics, over a share of the steps so far."""

    def __init__(self, network: nn.Module, horizon: float) -> None:
        self.held = {name: value.clone() for name, value in network.state_dict().items()}
        self.horizon, self.steps = horizon, 0

    def update(self, network: nn.Module, progress: float) -> None:
        self.steps += 1
        span = max(1.0, self.horizon * self.steps / max(progress, 1e-3))  # of the steps that there will be
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.held[name].lerp_(value, 1 / span)
            else:
                self.held[name].copy_(value)
