"""A short list of pretrained networks that the roles are told of, small to large, all under free licences.

Parameters and accuracy are from timm's table `results/results-imagenet.csv` (huggingface/pytorch-image-models at commit
0173a139, Apache-2.0); it is no part of timm's package.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Offered:
    """timm's name, parameters in millions, and top-1 accuracy on ImageNet's validation images in percent."""

    name: str
    millions: float
    top1: float

    @property
    def said(self) -> str:
        return f"{self.millions:.0f} M, {self.top1:.0f}%"


OFFERED = (
    Offered("convnext_atto.d2_in1k", 3.70, 77.008),
    Offered("edgenext_small.usi_in1k", 5.59, 81.564),
    Offered("resnet18.a1_in1k", 11.69, 73.158),
    Offered("convnext_nano.in12k_ft_in1k", 15.59, 82.862),
    Offered("vit_small_patch16_224.augreg_in21k_ft_in1k", 22.05, 81.384),
    Offered("convnext_tiny.in12k_ft_in1k", 28.59, 84.450),
    Offered("vit_base_patch16_224.augreg2_in21k_ft_in1k", 86.57, 85.096),
)
