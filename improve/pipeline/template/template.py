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
from context import Context
from layers import classifier, conv_block
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

# Models often take everything from here, whatever file their contract says: it shall not fail because of that.
__all__ = [
    "Chain", "ColorJitter", "Context", "ContractError", "CutMix", "ImageClassifier", "ImageDataModule", "MixUp",
    "NonFiniteLoss", "RandomAffine", "RandomErasing", "RandomHorizontalFlip", "RandomShift", "classifier", "conv_block",
    "pretrained_backbone",
]  # fmt: skip

Transform = Callable[[Tensor], Tensor]


class ContractError(Exception):
    """A component does not do what its contract says. The message says what is wanted instead."""


class NonFiniteLoss(Exception):
    """The training loss became NaN or infinite."""


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

    def __init__(self, array: np.ndarray, labels: np.ndarray, rows: np.ndarray, transform: Transform) -> None:
        self.array, self.labels, self.rows, self.transform = array, labels, rows, transform
        self.whole_batch = is_deterministic(transform)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, targets = self.__getitems__([index])
        return images[0], targets[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[np.asarray(indices)]
        images = to_tensor(self.array[rows])
        images = self.transform(images) if self.whole_batch else torch.stack([self.transform(i) for i in images])
        return images, torch.from_numpy(self.labels[rows])


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
    - `sampler(labels)` returns a `torch.utils.data.Sampler` over the training images, for instance to balance classes.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.batch_size = 128
        self.progress = 0.0  # of the training, from 0 to 1; for augmentations that grow or fade

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
        self.train_rows, self.validation_rows = stratified_holdout(
            self.labels, self.context.validation_fraction, self.context.seed
        )

    def train_dataloader(self) -> DataLoader[Any]:
        data = Images(self.array, self.labels, self.train_rows, self.train_transform())
        sampler = self.sampler(self.labels[self.train_rows])
        return self._loader(data, shuffle=sampler is None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(Images(self.array, self.labels, self.validation_rows, self.eval_transform()))

    def _loader(self, data: Images, shuffle: bool = False, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
        workers = self.context.workers
        return DataLoader(
            data,
            batch_size=min(self.batch_size, len(data)),
            shuffle=shuffle,
            sampler=sampler,
            # A last training batch of one image would break batch normalisation.
            drop_last=data.rows is self.train_rows and len(data) > self.batch_size,
            num_workers=workers,
            collate_fn=_as_fetched,
            multiprocessing_context="fork" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is not None and self.trainer.training:
            images, targets = batch
            return self.batch_transform(images, targets)
        return batch


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to validate on; every class with at least two images is in both."""
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        held.extend(rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))])
    mask = np.zeros(len(labels), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


class ImageClassifier(pl.LightningModule):
    """Classifies images. Subclass it as `Model`: build the network in `__init__`, return logits `B × K` from `forward`.

    Override `loss` for another objective (targets may be soft); Lightning's hooks such as `on_train_epoch_start` may be
    used, for instance to unfreeze a backbone. Do not override the steps: the training procedure lives in `training.py`.
    """

    label_smoothing: float = 0.0

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.progress = 0.0  # of the training, from 0 to 1
        self.pace: Callable[[], float] | None = None  # the progress at this moment
        self.validations = 0  # done so far
        self._judged: dict[int, int] = {}  # by a schedule's id: the validations that it has seen
        self.optimizers_from: Callable[[ImageClassifier, Context], Any] | None = None

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
        return self._step(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> dict[str, Tensor]:
        return self._step(batch)

    def _step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, targets = batch
        logits = self(images)
        hard = targets.argmax(dim=1) if targets.ndim == 2 else targets
        return {"loss": self.loss(logits, targets), "correct": (logits.detach().argmax(dim=1) == hard).sum()}


class _Renormalize(nn.Module):
    """From the data set's normalisation to that of pretrained weights; grey images become three equal channels."""

    def __init__(self, context: Context, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        own_mean, own_std = torch.tensor(context.mean), torch.tensor(context.std)
        new_mean, new_std = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (own_std / new_std).view(1, -1, 1, 1))
        self.register_buffer("shift", ((own_mean - new_mean) / new_std).view(1, -1, 1, 1))

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift


def pretrained_backbone(context: Context, name: str, **options: Any) -> nn.Module:
    """timm's model `name` with the pretrained weights of this machine; returns features `B × F` (no classifier).

    Takes images normalised by `ImageDataModule.normalize`. `.num_features` is F. Raises `ContractError` if the weights
    are not at hand.
    """
    import timm

    weights = context.pretrained.get(name)
    if weights is None:
        at_hand = ", ".join(context.pretrained) or "none"
        raise ContractError(f"no pretrained weights for {name!r} on this machine (at hand: {at_hand}).")
    if context.restoring:
        network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    else:
        # The file is the classifier's whole state; num_classes=0 leaves its last layer out.
        overlay = {"file": weights.file}
        network = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **options)
    backbone = nn.Sequential(_Renormalize(context, weights.mean, weights.std), network)
    backbone.num_features = network.num_features
    return backbone
