"""The base classes of a pipeline's components. `data.py` and `model.py` subclass them; `train.py` drives them.

Images are `uint8` tensors `B × C × H × W` until a transform makes them floating point; all have one size. Targets are
class indices (`int64`, `B`), or soft labels (`float32`, `B × K`) after a `batch_transform` such as MixUp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import ranks
import torch
from augment import (
    Chain,
    ColorJitter,
    CutMix,
    MixUp,
    RandomAffine,
    RandomErasing,
    RandomHorizontalFlip,
    RandomShift,
)
from backbone import Backbone, layer_groups, pretrained_backbone
from context import Context
from device import held_images
from errors import ContractError, NonFiniteLoss
from layers import classifier, conv_block
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler
from torchvision.transforms import v2

# Models often take everything from here, whatever file their contract says: it shall not fail because of that.
__all__ = [
    "Chain", "ColorJitter", "Context", "ContractError", "CutMix", "ImageClassifier", "ImageDataModule", "MixUp",
    "NonFiniteLoss", "RandomAffine", "RandomErasing", "RandomHorizontalFlip", "RandomShift", "by_progress",
    "classifier", "conv_block", "layer_groups", "pretrained_backbone",
]  # fmt: skip

Transform = Callable[[Tensor], Tensor]


MIRRORED = 0.5  # share of the images under `flip`
VIEWS = ("", "mirrored", "shifted")

# Transforms without a random decision: they may be applied to a whole batch at once.
DETERMINISTIC = (
    v2.CenterCrop, v2.ConvertImageDtype, v2.Grayscale, v2.Identity, v2.Normalize, v2.Pad, v2.Resize, v2.RGB,
    v2.ToDtype, v2.ToImage, v2.ToPureTensor,
)  # fmt: skip


def is_deterministic(transform: Any) -> bool:
    """Whether a transform surely decides nothing at random, so that a batch may go through it in one call."""
    if isinstance(transform, (v2.Compose, nn.Sequential)):
        return all(is_deterministic(part) for part in getattr(transform, "transforms", transform))
    return isinstance(transform, DETERMINISTIC)


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Rows of one uint8 array `N × H × W × C`, fetched a batch at a time and transformed."""

    def __init__(
        self,
        array: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        transform: Transform,
        held: Tensor | None = None,  # the images on a device, `N × C × H × W`
    ) -> None:
        self.array, self.labels, self.rows, self.transform = array, labels, rows, transform
        self.whole_batch = is_deterministic(transform)
        self.held = held if self.whole_batch else None  # transforms of single images are faster on a CPU

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, targets = self.__getitems__([index])
        return images[0], targets[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[np.asarray(indices)]
        held = self.held
        images = to_tensor(self.array[rows]) if held is None else held[torch.from_numpy(rows).to(held.device)]
        images = self.transform(images) if self.whole_batch else torch.stack([self.transform(i) for i in images])
        return images, torch.from_numpy(self.labels[rows])


class Features:
    """What the frozen layers of a network make of each image, and of each mirrored image: float16, a row for each."""

    def __init__(self, plain: np.ndarray, mirrored: np.ndarray | None) -> None:
        self.plain, self.mirrored = plain, mirrored

    def of(self, rows: np.ndarray, mirrored: np.ndarray | None = None) -> Tensor:
        """Those of some rows (float32); where `mirrored` is true, those of their mirrored images."""
        found = self.plain[rows]
        if mirrored is not None and self.mirrored is not None:
            found[mirrored] = self.mirrored[rows[mirrored]]
        return torch.from_numpy(found.astype(np.float32))


class FeatureRows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of features, fetched a batch at a time; `mirror`: half of them those of mirrored images, at random."""

    def __init__(self, features: Features, labels: np.ndarray, rows: np.ndarray, mirror: bool) -> None:
        self.features, self.labels, self.rows, self.mirror = features, labels, rows, mirror

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        features, targets = self.__getitems__([index])
        return features[0], targets[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[np.asarray(indices)]
        mirrored = torch.rand(len(rows)).numpy() < MIRRORED if self.mirror else None
        return self.features.of(rows, mirrored), torch.from_numpy(self.labels[rows])


def to_tensor(array: np.ndarray) -> Tensor:
    """A uint8 array `N × H × W × C` as a tensor `N × C × H × W`."""
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def _as_fetched(batch: Any) -> Any:
    return batch


class ImageDataModule(pl.LightningDataModule):
    """Loads the images. Subclass it as `DataModule` and override what should differ:

    - `train_transform()` and `eval_transform()` return a transform of one uint8 image `C × H × W` to a floating-point
      image of the size that the model takes. Both default to `self.normalize()`.
    - `batch_transform(images, targets)` runs on whole training batches after `train_transform`, on the model's device;
      fast augmentations from `augment.py`, MixUp and CutMix belong here. It may return soft targets `B × K`.
    - `flip = True` mirrors half of the training images left to right, before `batch_transform`.
    - `self.progress` is how far the training is, from 0 to 1: for augmentations and image sizes that change.
    - `sampler(labels)` returns a `torch.utils.data.Sampler` over the training images, for instance to balance classes.
    """

    flip: bool = False

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.batch_size = 128
        self.told = Told()
        self.held: Tensor | None = None  # all images, where a GPU has room for them
        self.features: Features | None = None  # of all images, if the network's first layers are frozen

    @property
    def progress(self) -> float:
        """How far the training is, from 0 to 1."""
        return self.told.read()

    def normalize(self) -> v2.Compose:
        """uint8 to float32 with zero mean and unit variance per channel, `context.height × context.width`."""
        size = [self.context.height, self.context.width]
        resize = [v2.Resize(size, antialias=True)] if self.context.stored else []
        normalize = v2.Normalize(list(self.context.mean), list(self.context.std))
        return v2.Compose([*resize, v2.ToDtype(torch.float32, scale=True), normalize])

    def train_transform(self) -> Transform:
        transform: Transform = self.normalize()
        return transform

    def eval_transform(self) -> Transform:
        transform: Transform = self.normalize()
        return transform

    def batch_transform(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images, targets

    def sampler(self, labels: np.ndarray) -> Sampler[int] | None:
        return None

    def attach(self, folder: Path) -> None:
        """Open the training images of `folder` and set a validation part aside, stratified and by `context.seed`."""
        self.array = np.load(folder / "images.npy", mmap_mode="r")
        self.labels = np.load(folder / "labels.npy")
        self.held = held_images(self.array, self.context)
        self.train_rows, self.validation_rows = stratified_holdout(
            self.labels, self.context.validation_fraction, self.context.seed
        )
        if self.context.refit:
            self.train_rows = np.arange(len(self.labels))

    def pixels(self, rows: np.ndarray) -> Tensor:
        """Images as they come to the network in validation and prediction, `N × C × H × W`."""
        images, _ = Images(self.array, self.labels, rows, self.eval_transform()).__getitems__(range(len(rows)))
        return images.contiguous(memory_format=torch.channels_last)

    def _rows(self, rows: np.ndarray, training: bool) -> Images | FeatureRows:
        if self.features is not None:
            return FeatureRows(self.features, self.labels, rows, self.flip and training)
        transform = self.train_transform() if training else self.eval_transform()
        return Images(self.array, self.labels, rows, transform, self.held)

    def train_dataloader(self) -> DataLoader[Any]:
        data = self._rows(self.train_rows, training=True)
        sampler = self.sampler(self.labels[self.train_rows])
        return self._loader(data, shuffle=sampler is None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._rows(self.validation_rows, training=False))

    def _loader(
        self, data: Images | FeatureRows, shuffle: bool = False, sampler: Sampler[int] | None = None
    ) -> DataLoader[Any]:
        workers = self.context.workers
        # A last training batch of one image would break batch normalisation.
        drop_last = data.rows is self.train_rows and len(data) > self.batch_size
        batches: dict[str, Any] = {
            "batch_size": min(self.batch_size, len(data)),
            "shuffle": shuffle,
            "sampler": sampler,
            "drop_last": drop_last,
        }
        if ranks.size() > 1:
            order = sampler or (RandomSampler(data) if shuffle else SequentialSampler(data))
            batches = {"batch_sampler": ranks.SharedBatches(order, batches["batch_size"], drop_last)}
        return DataLoader(
            data,
            **batches,
            num_workers=workers,
            collate_fn=_as_fetched,
            multiprocessing_context="fork" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available() and getattr(data, "held", None) is None,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is not None and self.trainer.training:
            images, targets = batch
            if self.flip and self.features is None:
                images = RandomHorizontalFlip(MIRRORED)(images)
            return self.batch_transform(images, targets)
        return batch


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on; every class with at least two images is in both.

    Where no class has two images, all are in both.
    """
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        held.extend(rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))])
    if not held:
        return np.arange(len(labels)), np.arange(len(labels))
    mask = np.zeros(len(labels), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


class Told:
    """The progress of a training, and whether a component has asked for it."""

    def __init__(self) -> None:
        self.value, self.asked = 0.0, False

    def read(self) -> float:
        self.asked = True
        return self.value


class ImageClassifier(pl.LightningModule):
    """Classifies images. Subclass it as `Model`: build the network in `__init__`, return logits `B × K` from `forward`.

    Override `loss` for another objective (targets may be soft). Lines that ask for more:

    - `frozen = 0.6`: the first 60% of the layers of `self.backbone` (see `pretrained_backbone`) stay as they came, with
      their batch normalisation; a method `frozen(self, progress)` thaws them during the training.
    - `probe = True`: the linear layer on the backbone's features starts as the best one for the training images.
    - `views = "mirrored"` or "shifted": new images are looked at twice or four times, and the mean is the answer.
    - `initialize(self, images)` is called once before the first step, with up to 2,000 training images.

    `self.progress` is how far the training is, from 0 to 1. Lightning's hooks may be used. Do not override the steps:
    the training procedure lives in `training.py`.
    """

    label_smoothing: float = 0.0
    frozen: float | Callable[[float], float] = 0.0
    probe: bool = False
    views: str = ""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.told = Told()
        self.pace: Callable[[], float] | None = None  # the progress at this moment
        self.validations = 0  # done so far
        self._judged: dict[int, int] = {}  # by a schedule's id: the validations that it has seen
        self._still = -1  # units of the backbone that are frozen; −1: not asked yet
        self.optimizers_from: Callable[[ImageClassifier, Context], Any] | None = None

    @property
    def progress(self) -> float:
        """How far the training is, from 0 to 1."""
        return self.told.read()

    def initialize(self, images: Tensor) -> None:
        """For layers that start from the images, `N × C × H × W` as `eval_transform` gives them."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of every module; but layers that do not know the size of their inputs yet have no memory format."""
        if any(isinstance(p, UninitializedParameter) for p in self.parameters()):
            kwargs.pop("memory_format", None)
            if not args and not kwargs:
                return self
        return super().to(*args, **kwargs)

    def frozen_share(self, progress: float) -> float:
        """The share of the backbone's layers that are frozen at a moment of the training."""
        share = self.frozen(progress) if callable(self.frozen) else self.frozen
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ContractError(f"model.py: frozen must be a share from 0 to 1, not {share!r}.")
        return float(share)

    def frozen_units(self, progress: float) -> int:
        share, backbone = self.frozen_share(progress), getattr(self, "backbone", None)
        if isinstance(backbone, Backbone):
            return round(share * len(backbone.units))
        if share:
            raise ContractError("model.py: frozen needs self.backbone = pretrained_backbone(context, NAME).")
        return 0

    def always_frozen(self) -> int:
        """The units of the backbone that never learn."""
        return min(self.frozen_units(step / 20) for step in range(21))

    def freeze_units(self) -> None:
        """Freeze and thaw what is to be frozen at this moment of the training."""
        units = self.frozen_units(self.told.value)
        if units == self._still:
            return
        self._still = units
        backbone = getattr(self, "backbone", None)
        if isinstance(backbone, Backbone):
            for place, unit in enumerate(backbone.units):
                unit.requires_grad_(place >= units)
        if self.training:
            self.train()

    def train(self, mode: bool = True) -> Any:
        """As of every module; but frozen layers keep the normalisation that they came with."""
        super().train(mode)
        backbone = getattr(self, "backbone", None)
        if mode and isinstance(backbone, Backbone) and self._still > 0:
            for unit in backbone.units[: self._still]:
                unit.eval()
        return self

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def configure_optimizers(self) -> Any:
        if self.optimizers_from is None:
            raise ContractError("configure_optimizers belongs in training.py, not in the model.")
        try:
            return self.optimizers_from(self, self.context)
        except ZeroDivisionError:
            # OneCycleLR divides by pct_start × total_steps − 1: where that is 0, it spans one more step.
            longer = self.context.replace(planned_steps=self.context.total_steps + 1)
            return self.optimizers_from(self, longer)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """A step of a schedule; several of them where the machine has become too slow for the planned number.

        A `ReduceLROnPlateau` makes one for each new validation.
        """
        if metric is not None:
            if self.validations > self._judged.get(id(scheduler), 0):
                self._judged[id(scheduler)] = self.validations
                scheduler.step(metric)
            return
        total, done = self.context.total_steps, getattr(scheduler, "last_epoch", None)
        by_step = any(c.scheduler is scheduler and c.interval == "step" for c in self.trainer.lr_scheduler_configs)
        if not by_step or self.pace is None or not isinstance(done, int):
            scheduler.step()
            return
        # A schedule that has caught up with the clock is at its end before the steps are.
        for _ in range(done, min(max(done + 1, int(self.pace() * total)), total)):
            scheduler.step()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> dict[str, Tensor]:
        images, targets = batch
        return self._outcome(self(_laid_out(images)), targets)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> dict[str, Tensor]:
        images, targets = batch
        return self._outcome(self.answer(images), targets)

    def answer(self, images: Tensor) -> Tensor:
        """Logits `B × K` for new images: the mean over the `views` of each."""
        images = _laid_out(images)
        if self.views not in VIEWS:
            raise ContractError(f"model.py: views must be one of {', '.join(map(repr, VIEWS))}, not {self.views!r}.")
        backbone = getattr(self, "backbone", None)
        if not self.views or (isinstance(backbone, Backbone) and backbone.entry):
            logits: Tensor = self(images)
            return logits
        if self.views == "mirrored":
            seen = [images, images.flip(3)]
        else:
            seen = [images.roll((down, right), (2, 3)) for down in (0, 1) for right in (0, 1)]
        return torch.stack([self(_laid_out(view)) for view in seen]).mean(dim=0)

    def _outcome(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        hard = targets.argmax(dim=1) if targets.ndim == 2 else targets
        return {"loss": self.loss(logits, targets), "correct": (logits.detach().argmax(dim=1) == hard).sum()}


def _laid_out(images: Tensor) -> Tensor:
    """In the layout of memory that convolutions are faster in."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def by_progress(optimizer: torch.optim.Optimizer, rate: Callable[[float], float], context: Context) -> dict[str, Any]:
    """What `configure_optimizers` may return for learning rates that are `rate(progress)` times those of the groups;
    `progress` is from 0 to 1."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(min(1.0, step / context.total_steps)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
