"""What devices and software do: low contrast, distortion, too few pixels, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.random import RandomState
from PIL import Image
from scipy import ndimage

CONTRAST = (0.75, 0.15)
ELASTIC = ((0.0, 0.0, 0.08), (0.1, 0.03, 0.03))  # strength and smoothness of waves, shift of corners; × the side
PIXELATE = (0.95, 0.65)  # of the side
QUALITY = (80, 40)


def contrast(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    mean = image.mean(axis=(0, 1))
    return np.asarray((image - mean) * CONTRAST[severity] + mean)


def elastic(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    """A random affine map, then waves."""
    side = len(image)
    strength, smoothness, shift = (value * side for value in ELASTIC[severity])
    middle, reach = side // 2, side // 3
    corners = np.array([[reach, reach], [reach, -reach], [-reach, -reach]], dtype=float) + middle
    moved = corners + random.uniform(-shift, shift, size=corners.shape)
    # Where each pixel of the result comes from: moved corners go back to the corners. Coordinates are (x, y).
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
    y, x = np.mgrid[0:side, 0:side].astype(float)
    from_x, from_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], axis=-1) @ back, -1, 0)
    image = _sample(image, from_y, from_x, "mirror")
    waves_y, waves_x = (
        ndimage.gaussian_filter(random.uniform(-1, 1, size=(side, side)), smoothness, mode="reflect", truncate=3)
        for _ in range(2)
    )
    return _sample(image, y + strength * waves_y, x + strength * waves_x, "reflect")


def _sample(image: np.ndarray, y: np.ndarray, x: np.ndarray, beyond: str) -> np.ndarray:
    channels = np.moveaxis(image, -1, 0)
    return np.stack([ndimage.map_coordinates(channel, (y, x), order=1, mode=beyond) for channel in channels], axis=-1)


def pixelate(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    side = len(image)
    few = int(side * PIXELATE[severity])
    picture = _picture(image).resize((few, few), Image.Resampling.BOX).resize((side, side), Image.Resampling.BOX)
    return _floats(picture)


def jpeg(image: np.ndarray, severity: int, random: RandomState) -> np.ndarray:
    file = io.BytesIO()
    _picture(image).save(file, "JPEG", quality=QUALITY[severity])
    with Image.open(file) as picture:
        return _floats(picture)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(image * 255).astype(np.uint8))


def _floats(picture: Image.Image) -> np.ndarray:
    """Values that give the same bytes again when multiplied by 255 and rounded down."""
    return (np.asarray(picture) + 0.5) / 255
