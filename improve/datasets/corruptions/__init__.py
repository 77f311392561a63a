"""The fifteen corruptions of CIFAR-10-C at severities 1 and 5, for 32 × 32 colour images.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (2019), with
the constants of their CIFAR version. Random numbers come from NumPy's frozen generator (`RandomState`), so that a seed
gives the same image with every version of NumPy. They are not those behind the published files, nor are the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import PCG64, RandomState

from improve.datasets.corruptions import blur, digital, noise, weather

SIDE: Final = 32
SEVERITIES: Final = (1, 5)

# Each takes an image (32 × 32 × 3, floats in 0…1), a severity (0 for 1, 1 for 5) and the source of chance, and gives an
# image of the same shape, perhaps out of range.
CORRUPTIONS: Final[dict[str, Callable[[np.ndarray, int, RandomState], np.ndarray]]] = {
    "gaussian_noise": noise.gaussian,
    "shot_noise": noise.shot,
    "impulse_noise": noise.impulse,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.glass,
    "motion_blur": blur.motion,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg,
}
NAMES: Final = tuple(CORRUPTIONS)


def draw(seed: int, row: int) -> tuple[str, RandomState]:
    """The corruption of test image `row`, each of the fifteen equally likely, and the source of chance for it."""
    # Seeding its default bit generator would take longer than most corruptions.
    random = RandomState(PCG64([seed, row]))
    return NAMES[random.randint(len(NAMES))], random


def corrupt(image: np.ndarray, name: str, severity: int, random: RandomState) -> np.ndarray:
    """The corrupted image, 32 × 32 × 3 uint8 like `image`. `name`: one of `NAMES`; `severity`: 1 or 5."""
    if image.shape != (SIDE, SIDE, 3) or severity not in SEVERITIES:
        raise ValueError(f"32 × 32 colour images and severities 1 and 5 only, not {image.shape} and {severity}")
    changed = CORRUPTIONS[name](image / 255.0, SEVERITIES.index(severity), random)
    return np.asarray(np.clip(changed, 0, 1) * 255).astype(np.uint8)
