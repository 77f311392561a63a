"""Which of a training's weights are kept, and how they are written and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS = "weights.safetensors"
OLD_WEIGHTS = "weights.pt"  # what earlier versions left
CHOICES = ("last", "best", "average")
# Under "last", an earlier validation must be better by so many standard errors to be taken instead: a training that
# broke down at its end.
CLEARLY = 2.0
AVERAGED_FROM = 0.75  # of the training: the validations whose weights "average" takes the mean of

State = dict[str, Tensor]


class Keeper:
    """Is offered the weights at each validation, and says at the end which are kept.

    `choice` is "last" (unless an earlier validation was clearly better), "best" (the best validation), or "average"
    (the mean over the validations of the last quarter).
    """

    def __init__(self, choice: str) -> None:
        if choice not in CHOICES:
            raise ValueError(f"weights are kept by one of {', '.join(CHOICES)}, not {choice!r}")
        self.choice = choice
        self.best: State = {}
        self.accuracy = self.last = -1.0
        self.images = 1
        self.sums: State = {}
        self.summed = 0

    def offer(self, weights: Callable[[], State], accuracy: float, images: int, progress: float) -> None:
        """`weights()`, if they are wanted, are those that were just validated on so many images; `progress`: 0 to 1."""
        self.last, self.images = accuracy, images
        if accuracy > self.accuracy:
            self.accuracy = accuracy
            if self.choice != "average":
                self.best = weights()
        if self.choice == "average" and progress >= AVERAGED_FROM:
            self.summed += 1
            for name, value in weights().items():
                # Counters are not averaged.
                self.sums[name] = self.sums[name] + value if name in self.sums and value.is_floating_point() else value

    def kept(self, weights: Callable[[], State]) -> State:
        """The weights to keep, where the training has ended with `weights()`."""
        if self.choice == "average" and self.summed > 1:
            return {n: v / self.summed if v.is_floating_point() else v for n, v in self.sums.items()}
        error = math.sqrt(max(self.accuracy * (1 - self.accuracy), 1e-9) / self.images)
        margin = CLEARLY * error if self.choice == "last" else 0.0
        return self.best if self.best and self.accuracy - self.last > margin else weights()


def copied(module: nn.Module) -> State:
    return copied_state(module.state_dict())


def copied_state(state: Mapping[str, Tensor]) -> State:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def save_weights(weights: State, out: Path) -> None:
    """Write the weights through a second file, so that a stop in the middle leaves none that are torn.

    `weights`: tensors that share no memory, as `copied` gives them.
    """
    partial = out / (WEIGHTS + ".partial")
    save_file({name: value.contiguous() for name, value in weights.items()}, partial)
    partial.replace(out / WEIGHTS)


def load_weights(model: nn.Module, folder: Path, name: str = WEIGHTS) -> None:
    """Load what a training left. Only tensors are read from the file, also from those of earlier versions."""
    file = folder / name
    if file.suffix == Path(WEIGHTS).suffix:
        state = load_file(file)
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(state)


def weight_names(folder: Path) -> list[str]:
    """The files of weights in a folder: those of one training, or of several (also weights-2.safetensors, …)."""
    first = Path(OLD_WEIGHTS if (folder / OLD_WEIGHTS).exists() and not (folder / WEIGHTS).exists() else WEIGHTS)
    further = (file.name for file in folder.glob(f"{first.stem}-*{first.suffix}"))
    return [first.name, *sorted(further, key=lambda name: (len(name), name))]
