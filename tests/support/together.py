"""Pipelines for trainings in several processes, among them such as fail where these do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from improve.domain import Pipeline

CONVOLUTIONS = """
from torch import nn
from template import ImageClassifier, conv_block

class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.body = nn.Sequential(conv_block(16), conv_block(32), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(32, context.num_classes)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))
"""
TRAINING = """
import torch
from template import by_progress

batch_size = 32
ema_horizon = 0.1

def trainer_kwargs(context):
    return {}

def configure_optimizers(model, context):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return by_progress(optimizer, lambda progress: 1 - progress, context)
"""
# All processes must end with the same weights, also where layers thaw on the way.
AGREED = """
    def on_train_end(self):
        import torch
        import torch.distributed as dist
        own = sum(p.detach().double().sum() for p in self.parameters()).reshape(1)
        every = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        if len(every) != 2 or not torch.equal(*every):
            raise RuntimeError(f"the processes ended with other weights: {every}")
"""


def resnet_weights(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a small network of timm, at random."""
    import timm
    import torch

    torch.manual_seed(0)
    file = folder / "test_resnet.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
    return {"test_resnet": {"file": str(file), "mean": [0.5] * 3, "std": [0.5] * 3}}


def thawing() -> Iterator[Pipeline]:
    """On that network: on its features alone, and with layers that thaw on the way."""
    backbone = CONVOLUTIONS.replace(
        "self.body = nn.Sequential(conv_block(16), conv_block(32), nn.AdaptiveAvgPool2d(1))",
        'self.backbone = pretrained_backbone(context, "test_resnet")',
    ).replace("conv_block", "pretrained_backbone")
    backbone = backbone.replace("nn.Linear(32,", "nn.Linear(self.backbone.num_features,")
    backbone = backbone.replace("self.body(images).flatten(1)", "self.backbone(images)") + AGREED
    plain = "from template import ImageDataModule\n\nclass DataModule(ImageDataModule):\n    flip = True\n"
    for frozen in (
        "    probe = True\n    frozen = 1.0\n",
        "    def frozen(self, progress):\n        return 0.8 - progress / 2\n",
    ):
        model = backbone.replace("(ImageClassifier):\n", f"(ImageClassifier):\n{frozen}")
        yield Pipeline(plain, model, TRAINING)
