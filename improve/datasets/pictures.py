"""Pictures of the training images for people: some of each class, and what an augmentation makes of some of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from improve.datasets.dataset import IMAGES, LABELS, Dataset

SIDE = 64  # pixels of an image in a sheet
GAP = 2  # pixels between images
MOST_CLASSES = 20  # that are shown; of more classes, evenly spaced ones
PER_CLASS = 6
SAMPLED, VERSIONS = 5, 7  # training images that are augmented, and how often each
LABEL_WIDTH, FONT_SIZE, LABEL_LENGTH = 180, 13, 24
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class ClassImages:
    """Some training images of one class (M × H × W × C uint8), and how many there are in all."""

    name: str
    total: int
    images: np.ndarray


def class_images(dataset: Dataset, per_class: int = PER_CLASS, most: int = MOST_CLASSES) -> Iterator[ClassImages]:
    """Training images of at most `most` classes; the same ones for the same dataset."""
    pixels, labels = _train(dataset)
    for number in _spread(len(dataset.class_names), most):
        rows = np.flatnonzero(labels == number)[:per_class]
        yield ClassImages(dataset.class_names[number], dataset.images_per_class[number], pixels[rows])


def strip(images: Sequence[np.ndarray] | np.ndarray) -> Image.Image:
    """Images side by side, `SIDE` pixels high."""
    return sheet([images])


def sheet(rows: Sequence[Sequence[np.ndarray] | np.ndarray]) -> Image.Image:
    """Rows of images (each H × W × 1 or 3 uint8), brought to `SIDE` pixels. No row may be empty."""
    step = SIDE + GAP
    result = Image.new("RGB", (step * max(map(len, rows)) - GAP, step * len(rows) - GAP), PAPER)
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            result.paste(_tile(pixels), (x * step, y * step))
    return result


def contact_sheet(classes: Sequence[ClassImages]) -> Image.Image:
    """A row of images for each class, with its name and its number of training images at the left."""
    pictures = sheet([one.images for one in classes])
    result = Image.new("RGB", (LABEL_WIDTH + pictures.width, pictures.height), PAPER)
    result.paste(pictures, (LABEL_WIDTH, 0))
    draw, font = ImageDraw.Draw(result), _font()
    for number, one in enumerate(classes):
        name = one.name if len(one.name) <= LABEL_LENGTH else one.name[: LABEL_LENGTH - 1] + "…"
        top = number * (SIDE + GAP) + SIDE // 2 - FONT_SIZE
        draw.multiline_text((4, top), f"{name}\n{one.total:,} images", fill=(0, 0, 0), font=font)
    return result


def rows_to_augment(dataset: Dataset) -> np.ndarray:
    """Rows of train: one image of each of some classes, `VERSIONS` times one after the other."""
    _, labels = _train(dataset)
    chosen = [int(np.flatnonzero(labels == number)[0]) for number in _spread(len(dataset.class_names), SAMPLED)]
    return np.repeat(np.array(chosen, dtype=np.int64), VERSIONS)


def augmented_sheet(dataset: Dataset, rows: np.ndarray, augmented: np.ndarray) -> Image.Image:
    """A row for each training image of `rows`: as it is, and then its versions (`augmented`, in that order)."""
    pixels, _ = _train(dataset)
    versions = augmented.reshape(-1, VERSIONS, *augmented.shape[1:])
    originals = pixels[rows[::VERSIONS]]
    return sheet([[original, *some] for original, some in zip(originals, versions, strict=True)])


def _train(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    folder = dataset.train_folder
    return np.load(folder / IMAGES, mmap_mode="r"), np.load(folder / LABELS)


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced, the first always among them."""
    shown = min(count, most)
    return [number * count // shown for number in range(shown)]


def _tile(pixels: np.ndarray) -> Image.Image:
    """An image as a square of `SIDE` pixels: enlarged without smoothing, or made smaller with it."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)).convert("RGB")
    enlarged = max(image.size) <= SIDE
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, which comes with matplotlib and knows many scripts; else Pillow's own."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if file.is_file():
            return ImageFont.truetype(file, FONT_SIZE)
    return ImageFont.load_default(FONT_SIZE)
