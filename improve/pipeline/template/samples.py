"""What the data component makes of some training images: for people, who want to see what the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from components import Components
from context import Context
from template import Images, to_tensor
from torch import Tensor
from torch.nn import functional as F


def augmented(
    components: Components, context: Context, data_folder: Path, rows: Sequence[int], side: int
) -> np.ndarray:
    """Training images after `train_transform` and `batch_transform`, in one batch: `len(rows) × side × side × 3` uint8.

    The colours are brought back to those of the originals by what `eval_transform` does to mean and contrast.
    """
    torch.set_num_threads(context.threads)
    pl.seed_everything(context.seed, workers=True, verbose=False)
    data = components.build_data(context)
    data.attach(data_folder)
    chosen = np.asarray(rows)
    batch, targets = Images(data.array, data.labels, chosen, data.train_transform()).__getitems__(range(len(chosen)))
    plain, _ = Images(data.array, data.labels, chosen, data.eval_transform()).__getitems__(range(len(chosen)))
    batch, _ = data.batch_transform(batch, targets)
    shown = _original_colours(batch.float(), plain.float(), to_tensor(data.array[chosen]).float() / 255)
    shown = _three_channels(shown)
    mode = "nearest" if max(shown.shape[2:]) <= side else "area"
    shown = F.interpolate(shown, size=(side, side), mode=mode)
    values = shown.nan_to_num(0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return values.permute(0, 2, 3, 1).contiguous().numpy()


def _original_colours(batch: Tensor, plain: Tensor, original: Tensor) -> Tensor:
    """Undoes the normalisation of `batch`: the linear map from `plain` back to `original`, for each channel."""
    if plain.shape[1] != original.shape[1]:
        original = original.mean(dim=1, keepdim=True).expand(-1, plain.shape[1], -1, -1)
    dims = (0, 2, 3)
    scale = original.std(dims) / plain.std(dims).clamp(min=1e-6)
    shift = original.mean(dims) - scale * plain.mean(dims)
    return batch * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def _three_channels(images: Tensor) -> Tensor:
    if images.shape[1] == 3:
        return images
    return images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
