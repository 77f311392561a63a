"""Networks for an image size and a budget of time: which stem, how many stages, how deep and how wide."""

from __future__ import annotations

import math
from dataclasses import replace

from improve.expert import cost
from improve.expert.recipe import ModelRecipe

# Residual networks from small to large: channels of the first stage, and blocks of each stage. At least one block at
# the finest resolution: without it, much of what is fine in the images is lost before anything was computed.
LADDER: tuple[tuple[int, tuple[int, ...]], ...] = (
    (8, (1,)), (12, (1,)), (16, (1,)), (24, (1,)), (32, (1,)), (32, (1, 2, 1)), (48, (1, 2, 1)), (48, (2,)), (64, (2,)),
    (64, (2, 3, 3, 2)), (64, (3, 4, 6, 3)), (96, (3, 4, 6, 3)),
)  # fmt: skip
WIDEST = 512


def plain(side: int) -> ModelRecipe:
    """The first network that one would write for images of this size: three stages of two convolutions."""
    return ModelRecipe(family="plain", stem=1 if side <= 16 else 2, widths=(16, 32, 64), blocks=(2,))


def residual(side: int, channels: int, seconds: float, present: ModelRecipe | None = None) -> ModelRecipe:
    """The largest residual network of the ladder whose step takes at most `seconds` an image, else its smallest.

    Loss and regularisation are those of `present`.
    """
    stem = 1 if side <= 16 else 2 if side <= 96 else 4
    after = math.ceil(side / stem)
    # Shrink until about 4 pixels are left: fewer lose where things are, more cost time.
    stages = max(1, min(5, 1 + round(math.log2(max(1.0, after / 4.5)))))
    ladder = [
        replace(
            present or ModelRecipe(),
            family="residual",
            name="",
            stem=stem,
            widths=tuple(min(WIDEST, base * 2**stage) for stage in range(stages)),
            blocks=blocks,
        )
        for base, blocks in LADDER
    ]
    affordable = [recipe for recipe in ladder if cost.image_seconds(recipe, side, channels) <= seconds]
    return affordable[-1] if affordable else ladder[0]


def timm_networks(task_side: int, gpu: bool) -> tuple[str, ...]:
    """Networks of timm worth training from scratch on images of this size, smallest first."""
    if task_side < 48:
        return ("resnet18",) if gpu else ()
    return ("convnext_atto", "resnet18", "efficientnet_b0", "resnet50") if gpu else ("convnext_atto", "resnet18")
