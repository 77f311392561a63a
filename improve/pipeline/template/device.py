"""What a GPU is used for beside the network's arithmetic: its number format, and holding the images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from context import Context
from torch import Tensor

HELD_SHARE = 0.25  # of a GPU's free memory that the training images may take
GIB = 2**30


def uses_gpu(context: Context) -> bool:
    return context.accelerator != "cpu" and torch.cuda.is_available()


def precision_of(context: Context) -> str:
    """Lightning's name of the number format; "auto": bfloat16 where a GPU computes with it, else 32 bits."""
    if context.precision != "auto":
        return context.precision
    return "bf16-mixed" if uses_gpu(context) and torch.cuda.is_bf16_supported() else "32-true"


def held_images(array: np.ndarray, context: Context) -> Tensor | None:
    """The uint8 images `N × H × W × C` as a tensor `N × C × H × W` on the GPU, if they fit there with room to spare.

    None on a CPU, and where other processes load the images.
    """
    if not uses_gpu(context) or context.workers:
        return None
    free, _ = torch.cuda.mem_get_info()
    return on_device(array, torch.device("cuda")) if array.nbytes <= HELD_SHARE * free else None


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(0, 3, 1, 2)


def memory_figures(context: dict[str, Any]) -> str:
    """What a training that ran out of memory had and asked for, for its engineer."""
    if not torch.cuda.is_available() or context.get("accelerator") == "cpu":
        return ""
    used, total = torch.cuda.max_memory_allocated() / GIB, torch.cuda.mem_get_info()[1] / GIB
    return f"The GPU has {total:.1f} GiB, and up to {used:.1f} GiB of it held tensors."
