"""What the three components may know about the task and the machine: the file `context.json` as an object."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights at hand on this machine: a file in timm's names, and the normalisation they were trained with."""

    file: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """The training of the pipeline that this one revises: the batches that fit in the time limit, seconds of each."""

    steps_that_fit: int
    step_seconds: float
    steps_per_epoch: int
    batch_size: int
    same_but_training: bool  # data and model components are the same
    compiled: str = ""  # as `plan.Plan` has it


@dataclass(frozen=True)
class Context:
    """Task, image shape, machine and limits. Images are `channels × height × width`; mean and std are per channel."""

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    mean: tuple[float, ...]  # of the training images, in [0, 1]
    std: tuple[float, ...]
    train_images: int  # images that the optimiser sees in one epoch
    images_per_class: tuple[int, ...]  # in the training split, in the order of `classes`
    seed: int = 0
    fit_seconds: float = 600.0  # time limit of the training
    patience: float = 1.0  # factor of it by which a planned training may be later, where others beside it slow it down
    disk_bytes: int = 4 * 1024**3  # that it may write
    steps: int = 0  # batches that a training has instead of as many as fit in the time limit; 0: those
    longer: float = 1.0  # factor by which a training may have more epochs than it asks for
    keep: str = "last"  # which weights a training leaves: one of `keeping.CHOICES`
    reference: Reference | None = None  # how long the training of the pipeline was that this one revises
    threads: int = 1  # CPU threads
    devices: int = 1  # that one training has, each a process and a part of every batch
    num_nodes: int = 1  # machines, each with so many devices for it
    strategy: str = (
        "auto"  # how they share the work, by Lightning's names: ddp, fsdp; auto: ddp where there are several
    )
    workers: int = 0  # DataLoader workers
    accelerator: str = "auto"
    precision: str = "32-true"
    compile: str = "off"  # whether steps may be compiled: one of `compiling.CHOICES`
    hardware: str = ""
    validation_fraction: float = 0.1  # share of the training images that a training is watched on
    refit: bool = False  # trained on all images: those that it is watched on are among them
    pretrained: Mapping[str, PretrainedWeights] = field(default_factory=dict)  # by timm's model name
    stored: int = 0  # side in pixels of the images as they are stored, larger than height and width; 0: the same
    fit: str = "squash"  # how a picture of other proportions was made to fit: crop, pad or squash
    white: int = 65535  # value that is white in image files of more than 8 bits
    required_model: str = ""  # timm's name of the architecture that the model must be built on; "": any
    restoring: bool = False  # trained weights will be loaded: networks need no pretrained start
    # The next three are known once the training is planned; 0 before.
    max_epochs: int = 0  # epochs that are begun: the last one may be a part of one
    steps_per_epoch: int = 0  # optimiser steps
    planned_steps: int = 0  # optimiser steps of the whole training

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of the images before a transform."""
        return (self.stored, self.stored) if self.stored else (self.height, self.width)

    @property
    def processes(self) -> int:
        """Of one training, one for each device of each node; each has its part of every batch."""
        return self.devices * self.num_nodes

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training, for schedules such as OneCycleLR."""
        return max(1, self.planned_steps or self.max_epochs * self.steps_per_epoch)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Context:
        known = {f.name for f in dataclasses.fields(cls)}
        data: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in known
        }
        data["pretrained"] = {
            name: PretrainedWeights(w["file"], tuple(w["mean"]), tuple(w["std"]))
            for name, w in values.get("pretrained", {}).items()
        }
        reference = values.get("reference")
        data["reference"] = Reference(**reference) if reference else None
        return cls(**data)

    @classmethod
    def load(cls, path: Path) -> Context:
        """Read a file; the files it names are relative to its folder."""
        context = cls.from_dict(json.loads(path.read_text()))
        here = path.resolve().parent
        found = {n: dataclasses.replace(w, file=str(here / w.file)) for n, w in context.pretrained.items()}
        return context.replace(pretrained=found)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Context:
        return dataclasses.replace(self, **changes)
