"""Weather and light: snow, frost on the lens, fog, brightness."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from PIL import Image

from improve.datasets.corruptions.blur import trail, zoomed

# Mean and deviation of the flakes, zoom, the least that shows, reach and fading of their fall, what the image keeps.
SNOW = ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8))
FROST = ((1, 0.2), (0.75, 0.45))  # weights of the image and of the frost
TEXTURES = ("1", "2", "2", "4", "5")  # files in frost/; see its README
FOG = ((0.2, 3), (1.5, 1.75))  # thickness, and how quickly its details fade as they get smaller
BRIGHTER = (0.05, 0.3)
LUMA = np.array([0.299, 0.587, 0.114])


def snow(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    mean, deviation, size, least, reach, fading, kept = SNOW[severity]
    flakes = zoomed(random.normal(mean, deviation, size=image.shape[:2]), size)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    fallen = trail(flakes, int(reach), fading, random.uniform(-135, -45))[..., None]
    pale = np.maximum(image, (image @ LUMA)[..., None] * 1.5 + 0.5)
    return np.asarray(kept * image + (1 - kept) * pale + fallen + np.rot90(fallen, 2))


def frost(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    texture = _texture(TEXTURES[random.randint(len(TEXTURES))])
    height, width = image.shape[:2]
    top = random.randint(texture.shape[0] - height)
    left = random.randint(texture.shape[1] - width)
    kept, added = FROST[severity]
    return np.asarray(kept * image + added * texture[top : top + height, left : left + width])


@cache
def _texture(name: str) -> np.ndarray:
    with Image.open(Path(__file__).parent / "frost" / f"{name}.png") as picture:
        return np.asarray(picture.convert("RGB")) / 255.0


def fog(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    thickness, fading = FOG[severity]
    brightest = image.max()
    foggy = image + thickness * plasma(len(image), fading, random)[..., None]
    return np.asarray(foggy * brightest / (brightest + thickness))


def plasma(side: int, fading: float, random: RandomState) -> np.ndarray:
    """A cloud, `side` × `side` (a power of two), values 0…1, its left edge continuing its right one: diamond-square.

    Each round halves the grid: new points are the mean of their four neighbours and chance, whose strength falls by
    `fading` squared a round.
    """
    cloud = np.zeros((side, side))
    step, strength = side, 100.0
    while step >= 2:
        half = step // 2

        def chance(points: np.ndarray, strength: float = strength) -> np.ndarray:
            return strength * random.uniform(-strength, strength, size=points.shape)

        corners = cloud[::step, ::step]
        across = corners + np.roll(corners, -1, axis=0)
        middles = (across + np.roll(across, -1, axis=1)) / 4
        cloud[half::step, half::step] = middles = middles + chance(middles)
        # Points between two corners of a row have middles above and below; those of a column, left and right.
        rows = (corners + np.roll(corners, -1, axis=1) + middles + np.roll(middles, 1, axis=0)) / 4
        columns = (corners + np.roll(corners, -1, axis=0) + middles + np.roll(middles, 1, axis=1)) / 4
        cloud[::step, half::step] = rows + chance(rows)
        cloud[half::step, ::step] = columns + chance(columns)
        step, strength = half, strength / fading
    cloud -= cloud.min()
    return np.asarray(cloud / cloud.max())


def brightness(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """A higher value (V of HSV) at the same hue and saturation; black becomes grey."""
    value = image.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + BRIGHTER[severity], 1)
    return np.asarray(np.where(value > 0, image / np.where(value > 0, value, 1), 1) * brighter)
