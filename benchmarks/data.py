"""Images a second a core: loading, preparing, augmenting. By hand: python benchmarks/data.py [--folder DIR] [--quick]

Each path is timed beside plain Pillow (and torchvision on PIL images) in the same process, on one thread. Figures are
images a second of processor time, so that a busy machine changes them little: the median of five runs, the smallest and
the largest. Augmentation works on 32 × 32 colour images in batches of 128, as CIFAR-10's; sources read small PNGs and
photo-sized JPEGs that are made here (smooth noise), or those of a folder of yours.

On one core of a server with two Xeon cores at 2.5 GHz: crop, flip and normalise 34,000 images/s by the template, 3,000
by torchvision on PIL images (11 times); with RandomErasing 28,000, RandomAffine 17,000, ColorJitter 20,000. What
prompts say of the speed is from here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from improve.config.schema import DatasetConfig
from improve.datasets import sources
from improve.datasets.corruptions import NAMES, corrupt, draw
from improve.datasets.source import Downloads, Source, from_arrays
from improve.datasets.sources import dsprites
from improve.pipeline.export import TEMPLATE
from improve.pipeline.template.images import Preparation, UnreadableImage, find_images, to_array

REPEATS = 5
BATCH = 128
CLASSES = 10
ON_PIL, PILLOW = "torchvision on PIL images", "plain Pillow"  # what the other paths are compared with
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def speed(run: Callable[[], int], repeats: int) -> list[float]:
    """Images a second of processor time, `repeats` times after one run that is not counted; `run` gives its images."""
    run()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        count = run()
        found.append(count / (time.process_time() - began))
    return found


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Smooth coloured noise, N × H × W × 3 uint8: compresses about as photos do."""
    random = np.random.default_rng(0)
    images = np.empty((count, height, width, 3), np.uint8)
    for image in images:
        noise = random.standard_normal((height, width, 3), np.float32)
        smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
        image[:] = (128 + 45 * smooth / smooth.std() + 4 * noise).clip(0, 255)
    return images


class PerImage:
    """Transforms on one image after the other, in torchvision's usual way: from a list of PIL images or tensors."""

    def __init__(self, images: list[Any], transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.transform(self.images[row]), row % CLASSES


def epoch(loader: Any, after: Callable[..., Any] | None = None) -> int:
    """Goes through a loader of batches (images, targets), each perhaps through `after`; gives the number of images."""
    return sum(len((after(*batch) if after else batch)[0]) for batch in loader)


def one_by_one(images: np.ndarray) -> Iterator[tuple[str, Callable[[], int]]]:
    """torchvision's usual ways: each image goes through the transforms on its own."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    # On PIL images the first version of the transforms is the quicker one.
    on_pil = [v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)]
    pil: Any = PerImage([Image.fromarray(image) for image in images], v1.Compose(on_pil))
    to_float = v2.ToDtype(torch.float32, scale=True)
    on_tensors = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), to_float, v2.Normalize(MEAN, STD)]
    tensors: Any = PerImage(list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())), v2.Compose(on_tensors))
    yield f"{ON_PIL}: crop, flip, normalise", lambda: epoch(DataLoader(pil, BATCH, shuffle=True))
    yield "torchvision on single tensors: the same", lambda: epoch(DataLoader(tensors, BATCH, shuffle=True))


def in_batches(images: np.ndarray, folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """The template's way, by its own loader: whole batches, one random decision for each image."""
    sys.path.append(str(TEMPLATE))
    template, augment, context = (importlib.import_module(name) for name in ("template", "augment", "context"))
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.arange(len(images)) % CLASSES)
    names = tuple(map(str, range(CLASSES)))
    task = context.Context(names, 32, 32, 3, MEAN, STD, len(images), (len(images) // CLASSES,) * CLASSES)

    def ours(augmentation: Callable[..., Any] | None, labels: bool = False) -> Callable[[], int]:
        module = template.ImageDataModule(task)
        module.batch_size = BATCH
        module.attach(folder)
        loader = module.train_dataloader()
        if augmentation is None or labels:
            return lambda: epoch(loader, augmentation)
        return lambda: epoch(loader, lambda images, targets: (augmentation(images), targets))

    usual = augment.Chain(augment.RandomShift(4), augment.RandomHorizontalFlip())
    yield "template: crop (RandomShift), flip, normalise", ours(usual)
    yield "template: normalise alone", ours(None)
    for name, part in (
        ("RandomErasing", augment.RandomErasing()),
        ("RandomAffine", augment.RandomAffine(15, (0.9, 1.1), 0.1)),
        ("ColorJitter", augment.ColorJitter()),
    ):
        yield f"template: crop, flip, normalise, {name}", ours(augment.Chain(usual, part))
    yield "template: normalise, MixUp", ours(augment.MixUp(CLASSES), labels=True)
    yield "template: normalise, CutMix", ours(augment.CutMix(CLASSES), labels=True)


def quiet(text: str) -> None: ...


def read_all(source: Source, side: int, most: int) -> int:
    """Reads and prepares up to `most` images of a source, as `improve.datasets.build` does."""
    rows = range(min(most, len(source.labels)))
    to = Preparation(side, side, 3)
    for row in rows:
        to_array(source.read(row, to).picture.image, to)
    return len(rows)


def plain_pillow(files: list[Path], side: int) -> int:
    for file in files:
        with Image.open(file) as image:
            np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    return len(files)


def reading(folder: Path, photos: Path | None, count: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Reading and preparing the images of each source, beside plain Pillow on the same files."""
    small, large = pictures(count, 32, 32), pictures(max(8, count // 20), 400, 533)
    for name, images, suffix in (("small", small, "png"), ("large", large, "jpg")):
        for row, image in enumerate(images):
            file = folder / name / str(row % 2) / f"{row}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file, quality=90)
    files = sorted((folder / "small").rglob("*.png"))
    table = folder / "small.csv"
    table.write_text("path,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files))
    downloads = Downloads(folder)

    def loaded(name: str, **values: Any) -> Source:
        return sources.find(name).load(DatasetConfig(name="bench", source=name, **values), downloads, quiet)

    sets = [("400 × 533 JPEG to 128", folder / "large", 128), ("32 × 32 PNG", folder / "small", 32)]
    if photos:
        sets.insert(0, (f"{photos.name}/ to 128", photos, 128))
    for title, place, side in sets:
        found = [file for _, file in zip(range(count), find_images([place]), strict=False)]
        yield f"{PILLOW}: {title}", partial(plain_pillow, found, side)
        source = loaded("folder", path=str(place), image_size=side)
        yield f"folder: {title}", partial(read_all, source, side, count)
    listed = loaded("csv", path=str(table), image_size=32)
    yield "csv: 32 × 32 PNG", partial(read_all, listed, 32, count)
    arrays = from_arrays(small, np.arange(count) % CLASSES, [str(number) for number in range(CLASSES)])
    yield "cifar10, svhn: 32 × 32 arrays", partial(read_all, arrays, 32, count)
    latents = np.arange(0, dsprites.LATENTS, dsprites.LATENTS // (4 * count))
    yield "dsprites: 64 × 64, rendered", lambda: len(dsprites.render(latents))

    def corrupted() -> int:
        for row in range(count // 4):
            name, random = draw(0, row)
            corrupt(small[row], name, 5, random)
        return count // 4

    yield f"cifar10c5: 32 × 32, one of {len(NAMES)} corruptions", corrupted


def report(title: str, paths: Iterator[tuple[str, Callable[[], int]]], baseline: str, repeats: int) -> None:
    """Times `paths` and prints them, each with its ratio to the last path so far whose name starts with `baseline`."""
    table = Table(title=title)
    for column in ("path", "images/s a core", "smallest to largest", f"× {baseline}"):
        table.add_column(column, justify="left" if column == "path" else "right")
    base: float | None = None
    for name, run in paths:
        found = speed(run, repeats)
        middle = median(found)
        base = middle if name.startswith(baseline) else base
        ratio = f"{middle / base:.1f}" if base else ""
        table.add_row(name, f"{middle:,.0f}", f"{min(found):,.0f} to {max(found):,.0f}", ratio)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a folder of class folders with photos of yours, read as well")
    parser.add_argument("--quick", action="store_true", help="fewer images and runs: whether it works at all")
    arguments = parser.parse_args()
    count, repeats = (256, 1) if arguments.quick else (2048, REPEATS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            images = pictures(count, 32, 32)
            # The slow paths need fewer images for the same precision.
            paths = chain(one_by_one(images[: max(BATCH, count // 8)]), in_batches(images, folder))
            report("augmentation of 32 × 32 colour images", paths, ON_PIL, repeats)
            report("sources", reading(folder, arguments.folder, count // 4), PILLOW, repeats)
        except UnreadableImage as error:
            sys.exit(f"an image of {arguments.folder} {error}")


if __name__ == "__main__":
    main()
