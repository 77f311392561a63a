"""Noise: each pixel's channels change independently of their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

DEVIATION = (0.04, 0.10)
PHOTONS = (500, 50)  # counted at a channel's full brightness
REPLACED = (0.01, 0.07)  # share of the values


def gaussian(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    return image + random.normal(scale=DEVIATION[severity], size=image.shape)


def shot(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """What counting few photons looks like."""
    photons = PHOTONS[severity]
    return random.poisson(image * photons) / photons


def impulse(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """Some values become black or white: salt and pepper."""
    replaced = random.random_sample(image.shape) <= REPLACED[severity]
    return np.where(replaced, random.random_sample(image.shape) <= 0.5, image)
