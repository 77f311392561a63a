"""Parts of networks that find the size of their inputs themselves: only what comes out of them is said."""

from __future__ import annotations

from torch import Tensor, nn


def conv_block(channels: int, stride: int = 1) -> nn.Module:
    """Convolution 3 × 3, batch normalisation, ReLU: B × any × H × W to B × `channels` × H/stride × W/stride."""
    return nn.Sequential(
        nn.LazyConv2d(channels, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def classifier(classes: int, dropout: float = 0.0) -> nn.Module:
    """Average over the image, dropout, a linear layer: B × any × H × W or features B × any to B × `classes` logits."""
    return nn.Sequential(_Pool(), nn.Dropout(dropout), nn.LazyLinear(classes))


class _Pool(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features
