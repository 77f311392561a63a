"""What is done once before a training's first step: features of frozen layers, a fitted classifier, its own start.

A frozen layer gives the same answer for the same image in every epoch. Where images come to the network as they are, or
mirrored at most, the answers are computed once, kept in a file of the work folder, and the layers behind them are
trained on these: hundreds of epochs of a classifier then take seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ranks
import torch
from backbone import Backbone
from context import Context
from errors import ContractError
from probe import fitted_head
from template import Features, ImageClassifier, ImageDataModule, Images, is_deterministic
from torch import Tensor, nn

BATCH = 64
SMOKE_ROWS = 16  # images that a smoke run prepares: enough to see that it can be done
KINDS = ("plain", "mirrored")  # of features that are kept, in the order in which they are computed
# Of the time limit that computing features may take: where nothing but what stands on them is left to learn; where
# some layers are; with those of mirrored images; and if the machine becomes slower meanwhile.
WHOLE_SHARE, PART_SHARE, MIRRORED_SHARE, AT_LAST = 0.8, 0.6, 0.45, 0.85
START_SHARE = 0.2  # where they are for the classifier's start alone
DISK_SHARE = 0.5  # of what a training may write
FEW = 2000  # images that a model's own start is shown
# Largest difference between logits of features that were kept in 16 bits and computed anew, as a share of how much
# logits differ between images.
CLOSE = 0.05


class Preparation:
    """Is applied to a data module and a model before they are trained; what takes long is done the first time only.

    `smoke`: for a few images alone; features of the others are zeros then.
    """

    def __init__(self, context: Context, out: Path, started: float, smoke: bool = False) -> None:
        self.context, self.out, self.started = context, out, started
        self.rows = SMOKE_ROWS if smoke else None
        self.features: Features | None = None
        self.head: dict[str, Tensor] | None = None
        self.done = False

    def apply(self, model: ImageClassifier, data: ImageDataModule) -> None:
        """Raises what the components raise."""
        device = torch.device("cuda" if torch.cuda.is_available() and self.context.accelerator != "cpu" else "cpu")
        model.to(device)
        model.freeze_units()
        backbone = getattr(model, "backbone", None)
        if isinstance(backbone, Backbone):
            units = model.always_frozen()
            if not self.done and units and backbone.can_be_entered(units) and _fixed(data):
                self.features = self._by_one(model, backbone, data, units)
            if self.features is not None:
                data.features, backbone.entry = self.features, units
            if model.probe:
                head = _head(model, backbone)
                self.head = self.head or ranks.shared(self._fitted(model, backbone, data) if ranks.rank() == 0 else {})
                head.load_state_dict(self.head)
        if type(model).initialize is not ImageClassifier.initialize:
            rows = np.random.default_rng(self.context.seed).permutation(data.train_rows)[:FEW]
            images, _ = Images(data.array, data.labels, rows, data.eval_transform()).__getitems__(range(len(rows)))
            with torch.no_grad():
                model.initialize(images.to(device))
        self.done = True
        model.train()

    def clear(self) -> None:
        """Remove the files, once the training has ended."""
        self.features = None
        for file in self.out.glob("features-*.npy"):
            file.unlink()

    def _by_one(self, model: ImageClassifier, backbone: Backbone, data: ImageDataModule, units: int) -> Features | None:
        """What one process of a node computes, all there have; of several nodes, what each has come to."""
        found = self._computed(model, backbone, data, units) if ranks.is_first_here() else None
        computed = len(KINDS)  # the word of the first on each node counts
        if ranks.is_first_here():
            computed = 0 if found is None else 1 if found.mirrored is None else 2
        kinds = KINDS[: ranks.fewest(computed)]
        arrays = [np.load(self.out / f"features-{kind}.npy", mmap_mode="r") for kind in kinds]
        return Features(arrays[0], arrays[1] if len(arrays) > 1 else None) if arrays else None

    def _computed(
        self, model: ImageClassifier, backbone: Backbone, data: ImageDataModule, units: int
    ) -> Features | None:
        """The features of all images, and those of mirrored ones if there is time; None where it does not pay."""
        model.eval()
        rows = np.union1d(data.train_rows, data.validation_rows)[: self.rows]
        first = data.pixels(rows[:BATCH]).to(_device(model))
        with torch.no_grad():
            backbone.until(first, units)  # the first call is slower than the rest
            began = time.monotonic()
            sample = backbone.until(first, units)
            seconds = (time.monotonic() - began) / len(first) * len(rows)
            if not _agrees(model, backbone, first, sample.half().float(), units):
                return None
        size, limit = sample[0].numel() * 2 * len(data.labels), DISK_SHARE * self.context.disk_bytes
        plain = WHOLE_SHARE if units == len(backbone.units) else PART_SHARE
        shares = {"plain": (plain, 1), "mirrored": (MIRRORED_SHARE, 2)}
        arrays: dict[str, np.ndarray] = {}
        for kind in KINDS if data.flip else KINDS[:1]:
            share, copies = shares[kind]
            if self._used() + seconds > share * self.context.fit_seconds or copies * size > limit:
                break
            array = self._array(kind, (len(data.labels), *sample.shape[1:]))
            for some in _parts(rows):
                images = data.pixels(some).to(_device(model))
                with torch.no_grad():
                    images = images.flip(3) if kind == "mirrored" else images
                    array[some] = backbone.until(images, units).half().cpu().numpy()
                if self._used() > AT_LAST * self.context.fit_seconds:
                    break  # the machine has become slower
            else:
                arrays[kind] = array
        return Features(arrays["plain"], arrays.get("mirrored")) if arrays else None

    def _used(self) -> float:
        """Seconds since the training began."""
        return time.monotonic() - self.started

    def _array(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        file = self.out / f"features-{kind}.npy"
        array: np.ndarray = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        return array

    def _fitted(self, model: ImageClassifier, backbone: Backbone, data: ImageDataModule) -> dict[str, Tensor]:
        """A classifier of the present features, the best linear one."""
        model.eval()
        chance = np.random.default_rng(self.context.seed)
        held = data.validation_rows[: self.rows]
        learnt = np.setdiff1d(data.train_rows, data.validation_rows)  # of a refit, the latter are among the former
        learnt = learnt if len(learnt) else data.train_rows  # of one image of each class, they are the same
        # Held-out images first: where there is no time for all, it learns from as many as there is time for.
        rows = np.concatenate([held, chance.permutation(learnt)[: self.rows]])
        found, labels = [], []
        share = WHOLE_SHARE if model.always_frozen() == len(backbone.units) or data.features else START_SHARE
        for some in _parts(rows):
            with torch.no_grad():
                images = data.pixels(some) if data.features is None else data.features.of(some)
                found.append(backbone(images.to(_device(model))).float().cpu())
            labels.append(torch.from_numpy(data.labels[some]))
            enough = len(found) * BATCH > 2 * len(held)
            if enough and self._used() > share * self.context.fit_seconds:
                break
        return fitted_head(torch.cat(found), torch.cat(labels), len(held), model.context.num_classes)


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _fixed(data: ImageDataModule) -> bool:
    """Whether images come to the network as they are, or mirrored at most."""
    kind = type(data)
    if kind.batch_transform is not ImageDataModule.batch_transform or not is_deterministic(data.train_transform()):
        return False
    rows = data.train_rows[:4]
    for_training = Images(data.array, data.labels, rows, data.train_transform()).__getitems__(range(len(rows)))[0]
    return torch.equal(for_training, data.pixels(rows))


def _agrees(model: ImageClassifier, backbone: Backbone, images: Tensor, features: Tensor, units: int) -> bool:
    """Whether the model makes of features what it makes of the images: it gives its backbone these and nothing else."""
    wanted: Any = model(images)
    backbone.entry = units
    try:
        found = model(features)
    except (RuntimeError, ValueError, IndexError):
        return False
    finally:
        backbone.entry = 0
    return bool((found - wanted).abs().max() <= CLOSE * (wanted - wanted.mean(dim=0)).abs().max())


def _head(model: ImageClassifier, backbone: Backbone) -> nn.Linear:
    """The last linear layer behind the backbone's features."""
    inside = set(backbone.modules())
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in inside]
    heads = [m for m in heads if m.in_features == backbone.num_features]
    if not heads:
        raise ContractError(
            "model.py: probe = True fits a linear layer on the backbone's features, but there is none: use "
            "nn.Linear(self.backbone.num_features, context.num_classes)."
        )
    return heads[-1]
