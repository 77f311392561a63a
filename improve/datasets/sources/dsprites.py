"""dSprites: one white shape on black, 64 × 64 pixels; the class is the shape's rotation (40 classes).

The images come from the official file where it is found (`dataset.path`, or `dsprites/` among the downloads), else they
are rendered; the card says which. Nothing is downloaded.

The latents are those of dSprites: shape (square, ellipse, heart), 6 scales, 40 rotations from 0° to 360° inclusive,
32 × 32 positions. A pixel is on when its centre lies inside the shape; the geometry was fitted to frames of the
original, from which an image differs by a few pixels on its outline. Rotations 0 and 39 are the same angle, so no
classifier can be right on all 40 classes: about 97.5% is the most.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.files import state
from improve.datasets.npz import read_rows
from improve.datasets.source import Downloads, Source, from_arrays
from improve.errors import DataError

SIDE = 64
SHAPES = ("square", "ellipse", "heart")
SCALES = np.linspace(0.5, 1, 6)
ANGLES = np.linspace(0, 2 * np.pi, 40)
POSITIONS = 16 + 32 * np.arange(32) / 31  # of the centre, in pixels
SHAPE_OF = (len(SHAPES), len(SCALES), len(ANGLES), 32, 32)
LATENTS = int(np.prod(SHAPE_OF))  # 737,280
WINDOW = 30  # pixels: no shape reaches further
CHUNK = 2048  # images rendered at once


OFFICIAL = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"  # of https://github.com/google-deepmind/dsprites-dataset
FROM_FILE = "images: those of the official dSprites file"
RENDERED = "images: rendered here; they differ from the official dSprites by a few pixels on the outline of a shape"


def key(config: DatasetConfig, downloads: Downloads) -> str:
    file = _official(config, downloads)
    return f"dsprites {state([file.absolute()])}" if file else "dsprites"


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    """As many images as train, selection and test ask for together, drawn by `split_seed`, none twice."""
    counts = (config.train, config.selection, config.test)
    wanted = LATENTS if None in counts else sum(count or 0 for count in counts)
    if wanted > LATENTS:
        raise DataError(
            f"dataset.train + dataset.selection + dataset.test = {wanted:,}, but dSprites has {LATENTS:,} images.",
            "ask for fewer, for instance dataset.train=8000 dataset.selection=2000 dataset.test=4000",
        )
    # A bit generator's raw numbers are the same in every version of NumPy; those of `choice` need not be.
    order = np.argsort(np.random.PCG64(config.split_seed).random_raw(LATENTS), kind="stable")
    # Equally many of each rotation: one after the other from each, in random order.
    by_rotation = order[np.argsort(rotation(order), kind="stable")].reshape(len(ANGLES), -1)
    latents = by_rotation.T.ravel()[:wanted]
    names = [f"{np.degrees(angle):03.0f}deg" for angle in ANGLES]
    file = _official(config, downloads)
    images = _from_file(file, latents) if file else render(latents)
    return from_arrays(images, rotation(latents), names, findings=[FROM_FILE if file else RENDERED])


def _official(config: DatasetConfig, downloads: Downloads) -> Path | None:
    """The official file, if it is there. Raises `DataError` if `dataset.path` does not have it."""
    root = downloads.root(config, "dsprites")
    file = root if root.is_file() else root / OFFICIAL
    if config.path and not file.is_file():
        raise DataError(
            f"dataset.path={config.path} does not hold {OFFICIAL}.",
            "get it from https://github.com/google-deepmind/dsprites-dataset, or leave dataset.path out to have the "
            "images rendered",
        )
    return file if file.is_file() else None


def _from_file(file: Path, latents: np.ndarray) -> np.ndarray:
    """The images of N latent numbers, as `render` gives them. Raises `DataError` for a file of another layout."""
    numbers = np.sort(latents)
    try:
        classes = read_rows(file, "latents_classes", numbers)
        images = read_rows(file, "imgs", numbers)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}).", "get it anew, or leave dataset.path out") from error
    # Its columns: colour, shape, scale, rotation, x, y.
    expected = np.stack(np.unravel_index(numbers, SHAPE_OF), axis=1)
    if images.shape[1:] != (SIDE, SIDE) or not np.array_equal(classes[:, 1:], expected):
        raise DataError(f"{file} does not have the layout of dSprites.", f"give {OFFICIAL}")
    return np.asarray(images[np.searchsorted(numbers, latents)] * np.uint8(255))


def rotation(latents: np.ndarray) -> np.ndarray:
    """The rotation number, 0…39, of each latent number (0…737,279)."""
    return np.asarray(np.unravel_index(latents, SHAPE_OF)[2])


def render(latents: np.ndarray) -> np.ndarray:
    """The images of N latent numbers: N × 64 × 64 uint8, 0 or 255."""
    images = np.zeros((len(latents), SIDE, SIDE), dtype=np.uint8)
    for start in range(0, len(latents), CHUNK):
        shape, scale, angle, x, y = np.unravel_index(latents[start : start + CHUNK], SHAPE_OF)
        draw(images[start : start + CHUNK], shape, SCALES[scale], ANGLES[angle], POSITIONS[x], POSITIONS[y])
    return images


def draw(
    images: np.ndarray, shape: np.ndarray, scale: np.ndarray, angle: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """Draws N shapes, rotated counterclockwise by `angle` (radians), centred at `x`, `y` (pixels), into N images."""
    x, y, scale, angle = (values[:, None, None] for values in (x, y, scale, angle))
    left = np.floor(x - WINDOW / 2 + 0.5).astype(int)
    top = np.floor(y - WINDOW / 2 + 0.5).astype(int)
    columns = left + np.arange(WINDOW)[None, None, :]
    rows = top + np.arange(WINDOW)[None, :, None]
    # Coordinates in the unrotated shape of scale 1; y points down, as rows do.
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    u = cos * (columns + 0.5 - x) - sin * (rows + 0.5 - y)
    v = sin * (columns + 0.5 - x) + cos * (rows + 0.5 - y)
    inside = np.empty(u.shape, dtype=bool)
    for number, contains in enumerate((in_square, in_ellipse, in_heart)):
        alike = shape == number
        inside[alike] = contains(u[alike], v[alike])
    images[np.arange(len(images))[:, None, None], rows, columns] = np.where(inside, 255, 0)


def in_square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= 9.6)


def in_ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(u / 12.8, v / 7.2) <= 1)


def in_heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """By the radius of its outline at each angle from its tip, which points down; left and right are alike."""
    angles, radii = np.loadtxt(Path(__file__).with_name("heart_profile.csv"), delimiter=",", skiprows=1, unpack=True)
    return np.asarray(np.hypot(u, v) <= np.interp(np.arctan2(np.abs(u), v), angles, radii))
