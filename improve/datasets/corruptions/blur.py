"""Blur: out of focus, through frosted glass, moving, and zooming in."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from scipy import ndimage

DISK = ((0.3, 0.4), (1.5, 0.1))  # radius of the lens's disk in pixels, and how far its edge is smoothed
GLASS = ((0.05, 1, 1), (0.4, 1, 2))  # blur before and after, reach of a move in pixels, rounds
MOTION = ((6, 1.0), (9, 2.5))  # reach in pixels, how quickly the trail fades
ZOOM = (np.arange(1, 1.06, 0.01), np.arange(1, 1.26, 0.01))
DISK_REACH = 8  # pixels: the disk is drawn on a grid of 17 × 17


def defocus(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    radius, smoothing = DISK[severity]
    steps = np.arange(-DISK_REACH, DISK_REACH + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(float)
    # Three pixels wide, whatever the smoothing: one on each side.
    edge = np.exp(-(np.arange(-1, 2) ** 2) / (2 * smoothing**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(edge, edge) / edge.sum() ** 2, mode="constant")
    return np.stack([ndimage.correlate(channel, kernel, mode="mirror") for channel in np.moveaxis(image, -1, 0)], -1)


def glass(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """Every pixel is replaced by one beside it, between two slight blurs.

    The published images were made by exchanging array views, which copies in one direction only; so does this.
    """
    sigma, reach, rounds = GLASS[severity]
    # The published images were rounded down to 256 levels here.
    moved = np.floor(_smooth(image, sigma) * 255) / 255
    side = len(image)
    for _ in range(rounds):
        steps = random.randint(-reach, reach, size=(side, side, 2))
        for y in range(side - reach, reach, -1):
            for x in range(side - reach, reach, -1):
                right, down = steps[y - 1, x - 1]
                moved[y, x] = moved[y + down, x + right]
    return _smooth(moved, sigma)


def motion(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    reach, fading = MOTION[severity]
    return trail(image, reach, fading, random.uniform(-45, 45))


def trail(image: np.ndarray, reach: int, fading: float, degrees: float) -> np.ndarray:
    """The sum of `image` (H × W, or H × W × C) moved step by step in one direction, weaker and weaker.

    The weights are one half of a Gaussian of standard deviation `fading` over `2 reach + 1` pixels.
    """
    steps = np.arange(2 * reach + 1)
    weights = np.exp(-(steps**2) / (2 * fading**2))
    angle = np.radians(degrees)
    height, width = image.shape[:2]
    total = np.zeros_like(image)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        rows = np.clip(np.arange(height) + int(np.ceil(step * np.sin(angle) - 0.5)), 0, height - 1)
        columns = np.clip(np.arange(width) + int(np.ceil(step * np.cos(angle) - 0.5)), 0, width - 1)
        total += weight * image[rows[:, None], columns]
    return total


def zoom(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """The mean of the image and of itself under a growing zoom."""
    factors = ZOOM[severity]
    total = image.copy()
    for factor in factors:
        total += zoomed(image, factor)
    return total / (len(factors) + 1)


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """The middle of a square image (H × H, or H × H × C), enlarged `factor` times to the size of the whole."""
    side = len(image)
    part = int(np.ceil(side / factor))
    first = (side - part) // 2
    middle = image[first : first + part, first : first + part]
    larger = ndimage.zoom(middle, (factor, factor, *(1,) * (image.ndim - 2)), order=1)
    first = (len(larger) - side) // 2
    return np.asarray(larger[first : first + side, first : first + side])


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest"))
