"""The smoke run: a few batches through every step of a pipeline, so that most mistakes show within seconds."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from classifier import probabilities
from components import Components
from context import Context
from template import ContractError, to_tensor
from train import fit

FAKE_BATCH = 8
SURPLUS = 0.25  # of a demanded architecture's weights, which a model may add: ResNet-101 is no ResNet-50


def smoke(components: Components, context: Context, data_folder: Path) -> None:
    """Raise what is wrong with the pipeline: a shape, a contract, a loss that is not finite, any error of its own."""
    context = context.replace(devices=1, num_nodes=1, strategy="auto")
    torch.set_num_threads(context.threads)
    check_architecture(components, context)
    check_shapes(components, context)
    # What a component may still be writing there goes with the sandbox.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        out = Path(folder)
        fit(components, context, data_folder, out, _silent, smoke=True)
        batch = np.load(data_folder / "images.npy", mmap_mode="r")[:FAKE_BATCH]
        for rows in probabilities(components, context, out, iter([np.asarray(batch)])):
            if not np.isfinite(rows).all():
                raise ContractError("after two training steps the model's outputs are not finite.")


def _silent(event: dict[str, Any]) -> None:
    """The two steps of a smoke run are no news."""


def check_architecture(components: Components, context: Context) -> None:
    """Whether the model holds all weight tensors of the architecture that the task demands, by their shapes.

    It may hold some more (a classifier, adapters), and take grey images. Position embeddings and class tokens are not
    compared. The check is for engineers who forget: one who means to cheat could keep such a network and not use it.
    """
    name = context.required_model
    if not name:
        return
    wanted = _weight_shapes(timm.create_model(name, pretrained=False, num_classes=0))
    found = _weight_shapes(components.build_model(context))
    missing, surplus = wanted - found, _elements(found - wanted) / _elements(wanted)
    problem = ""
    if missing:
        shape = next(iter(missing))
        problem = f"{missing.total()} of its {wanted.total()} weight tensors are missing, for instance one of {shape}"
    elif surplus > SURPLUS:
        problem = f"the model has {surplus:.0%} more weights (at most {SURPLUS:.0%} may be added)"
    if problem:
        raise ContractError(
            f"model.py: the task demands the architecture {name} of timm, but {problem}. Build it whole and once: "
            f"pretrained_backbone(context, {name!r}) where its weights are at hand, else "
            f"timm.create_model({name!r}, num_classes=0, in_chans=context.channels)."
        )


def _elements(shapes: Counter[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) * times for shape, times in shapes.items())


def _weight_shapes(network: torch.nn.Module) -> Counter[tuple[int, ...]]:
    """How often each shape occurs among the weights; 1 × 1 convolutions count as linear layers, grey images as RGB."""
    found: Counter[tuple[int, ...]] = Counter()
    for weight in network.parameters():
        shape = tuple(weight.shape)
        if len(shape) == 4 and shape[1] in (1, 3):
            shape = (shape[0], *shape[2:])
        elif shape[2:] == (1, 1):
            shape = shape[:2]
        if len(shape) >= 2 and shape[0] > 1:
            found[shape] += 1
    return found


def check_shapes(components: Components, context: Context) -> None:
    """A fake batch through the transforms, the model and the loss."""
    data, model = components.build_data(context), components.build_model(context)
    fake = np.random.default_rng(0).integers(
        0, 256, (FAKE_BATCH, *context.stored_size, context.channels), dtype=np.uint8
    )
    images = to_tensor(fake)
    evaluated = data.eval_transform()(images)
    single = data.train_transform()(images[0])
    for name, tensor, dims in (("eval_transform", evaluated, 4), ("train_transform", single, 3)):
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.ndim != dims:
            found = (
                f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            )
            raise ContractError(
                f"data.py: {name} must turn uint8 C × H × W images into floating-point images, but gave {found}; "
                "v2.ToDtype(torch.float32, scale=True) does it."
            )
    if single.shape != evaluated.shape[1:]:
        raise ContractError(
            f"data.py: train_transform gives {tuple(single.shape)} but eval_transform {tuple(evaluated.shape[1:])}; "
            "both must give the same size."
        )
    model.eval()
    wanted = (FAKE_BATCH, context.num_classes)
    with torch.no_grad():
        logits = model(evaluated)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
        given: object = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ContractError(
            f"model.py: forward must return logits of shape {wanted} (batch, classes), but gave {given}."
        )
    targets = torch.arange(FAKE_BATCH) % context.num_classes
    mixed, soft = data.batch_transform(evaluated, targets)
    if len(mixed) != len(soft) or (soft.ndim == 2 and soft.shape[1] != context.num_classes):
        raise ContractError(
            f"data.py: batch_transform must return images and targets of one batch (targets {FAKE_BATCH} or "
            f"{wanted}), but gave {tuple(mixed.shape)} and {tuple(soft.shape)}."
        )
    loss = model.loss(logits, targets)
    if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
        raise ContractError("model.py: loss must return one number (a scalar tensor).")
