"""Fast augmentations for `batch_transform`: whole batches at once, with one random decision for each image.

They take normalised floating-point images `B × C × H × W` (zero is the mean colour) on any device. The first group maps
images to images; `MixUp` and `CutMix` map images and targets to images and soft targets `B × K`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional as F


class Mixing:
    """Changes images and targets together."""

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Chain:
    """Augmentations one after another: `chain(images, targets)` gives both, and `chain(images)` the images.

    `MixUp` and `CutMix` change the targets, so a chain that holds one is called with both.
    """

    def __init__(self, *parts: Callable[[Tensor], Tensor] | Mixing) -> None:
        self.parts = parts

    @overload
    def __call__(self, images: Tensor) -> Tensor: ...

    @overload
    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        for part in self.parts:
            if not isinstance(part, Mixing):
                images = part(images)
            elif targets is None:
                name = type(part).__name__
                raise TypeError(f"{name} changes the targets, too: call the chain with both, chain(images, targets)")
            else:
                images, targets = part(images, targets)
        return images if targets is None else (images, targets)


class RandomShift:
    """Moves each image by up to `pixels` in both directions: the usual random crop with padding."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        pad = self.pixels
        # What lies beyond the border looks like it: zeros would be grey on images with a black or white ground.
        padded = F.pad(images, (pad, pad, pad, pad), mode="replicate")
        top = torch.randint(0, 2 * pad + 1, (count, 1), device=images.device)
        left = torch.randint(0, 2 * pad + 1, (count, 1), device=images.device)
        # All windows as a view, B × C × tops × lefts × H × W: choosing one for each image copies whole rows.
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(count, device=images.device), :, top[:, 0], left[:, 0]]


class RandomHorizontalFlip:
    """Mirrors each image left to right with probability `p`. Wrong where direction matters (digits, orientation)."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, images: Tensor) -> Tensor:
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < self.p
        return torch.where(chosen, images.flip(-1), images)


class RandomErasing:
    """Blanks one square of each image with probability `p`; its side is at most `size` of the image's side."""

    def __init__(self, size: float = 0.4, p: float = 0.5) -> None:
        self.size, self.p = size, p

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        device = images.device
        side = torch.rand(count, 1, 1, device=device) * self.size
        side = torch.where(torch.rand(count, 1, 1, device=device) < self.p, side, torch.zeros_like(side))
        y = torch.rand(count, 1, 1, device=device)
        x = torch.rand(count, 1, 1, device=device)
        rows = torch.linspace(0, 1, height, device=device).view(1, height, 1)
        columns = torch.linspace(0, 1, width, device=device).view(1, 1, width)
        inside = ((rows - y).abs() < side / 2) & ((columns - x).abs() < side / 2)
        return images.masked_fill(inside.unsqueeze(1), 0.0)


class RandomAffine:
    """Turns each image by up to `degrees`, scales it by `scale`, and moves it by up to `translate` of its side."""

    def __init__(self, degrees: float = 0.0, scale: tuple[float, float] = (1.0, 1.0), translate: float = 0.0) -> None:
        self.degrees, self.scale, self.translate = degrees, scale, translate

    def __call__(self, images: Tensor) -> Tensor:
        count, device = len(images), images.device
        angle = (torch.rand(count, device=device) * 2 - 1) * math.radians(self.degrees)
        low, high = self.scale
        zoom = 1 / (low + (high - low) * torch.rand(count, device=device))
        move = (torch.rand(count, 2, device=device) * 2 - 1) * 2 * self.translate
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        theta = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], dim=1).view(count, 2, 3)
        grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class ColorJitter:
    """Changes brightness and contrast of each image, and the balance of its channels, by up to the given strength."""

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, color: float = 0.1) -> None:
        self.brightness, self.contrast, self.color = brightness, contrast, color

    def __call__(self, images: Tensor) -> Tensor:
        count, channels = images.shape[:2]
        device = images.device

        def strength(*shape: int) -> Tensor:
            return torch.rand(*shape, device=device) * 2 - 1

        center = images.mean(dim=(2, 3), keepdim=True)
        images = (images - center) * (1 + self.contrast * strength(count, 1, 1, 1)) + center
        return images + self.brightness * strength(count, 1, 1, 1) + self.color * strength(count, channels, 1, 1)


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """Soft targets `B × K`; soft ones pass through."""
    return targets if targets.ndim == 2 else F.one_hot(targets, num_classes).to(torch.float32)


class MixUp(Mixing):
    """Blends each image with another one, and their labels in the same share (Zhang et al., 2018)."""

    def __init__(self, num_classes: int, alpha: float = 0.2) -> None:
        self.num_classes = num_classes
        self.share = torch.distributions.Beta(alpha, alpha)

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        soft = one_hot(targets, self.num_classes)
        share = self.share.sample((len(images),)).to(images.device)
        other = torch.randperm(len(images), device=images.device)
        weight = share.view(-1, 1, 1, 1)
        mixed = images * weight + images[other] * (1 - weight)
        return mixed, soft * share.view(-1, 1) + soft[other] * (1 - share.view(-1, 1))


class CutMix(Mixing):
    """Pastes a rectangle of another image into each image; labels mix by area (Yun et al., 2019)."""

    def __init__(self, num_classes: int, alpha: float = 1.0, p: float = 0.5) -> None:
        self.num_classes, self.p = num_classes, p
        self.share = torch.distributions.Beta(alpha, alpha)

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        soft = one_hot(targets, self.num_classes)
        count, _, height, width = images.shape
        device = images.device
        side = (1 - self.share.sample((count, 1, 1)).to(device)).sqrt()
        side = torch.where(torch.rand(count, 1, 1, device=device) < self.p, side, torch.zeros_like(side))
        rows = (torch.arange(height, device=device).view(1, height, 1) + 0.5) / height
        columns = (torch.arange(width, device=device).view(1, 1, width) + 0.5) / width
        y = torch.rand(count, 1, 1, device=device)
        x = torch.rand(count, 1, 1, device=device)
        inside = ((rows - y).abs() < side / 2) & ((columns - x).abs() < side / 2)
        other = torch.randperm(count, device=device)
        mixed = torch.where(inside.unsqueeze(1), images[other], images)
        kept = 1 - inside.float().mean(dim=(1, 2)).view(-1, 1)
        return mixed, soft * kept + soft[other] * (1 - kept)
