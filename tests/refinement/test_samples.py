"""What people are shown of a data component: augmented training images, drawn by the generated code, sent as bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from improve.datasets import Dataset
from improve.datasets.pictures import GAP, SAMPLED, SIDE, VERSIONS, rows_to_augment
from improve.execution.fit import Fit
from improve.execution.local import SAMPLE_SIDE
from improve.refinement import samples
from improve.sandbox import choose, remove
from tests.support import template as support
from tests.support.bench import CLASSES, Bench, executor, honest, make_task
from tests.support.template import components, context

BRIGHTER = """
    def batch_transform(self, images, targets):
        return images + 0.2 / torch.tensor(self.context.std).view(1, -1, 1, 1), targets
"""
IMAGENET = """
from torchvision.transforms import v2
def own(self):
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.9], [3.0])])
DataModule.train_transform = DataModule.eval_transform = own
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.train_folder(tmp_path_factory.mktemp("train"))


def shown(lib: SimpleNamespace, folder: Path, data: str = "", rows: tuple[int, ...] = (3, 3, 5)) -> np.ndarray:
    pixels = lib.samples.augmented(components(data=data), context(), folder, rows, 16)
    assert isinstance(pixels, np.ndarray)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (len(rows), 16, 16, 3))
    return pixels.astype(int)


def originals(folder: Path, rows: tuple[int, ...] = (3, 3, 5)) -> np.ndarray:
    """Grey images of 8 × 8 pixels as 16 × 16 colour ones."""
    return np.load(folder / "images.npy")[list(rows)].repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3).astype(int)


@pytest.mark.parametrize("data", ["", "import torch\n" + IMAGENET], ids=["usual", "own normalisation"])
def test_colours_are_those_of_the_originals(lib: SimpleNamespace, folder: Path, data: str) -> None:
    assert np.abs(shown(lib, folder, data) - originals(folder)).max() <= 1


def test_what_the_batch_transform_does_is_seen(lib: SimpleNamespace, folder: Path) -> None:
    brighter = shown(lib, folder, BRIGHTER.replace("torch.tensor", "__import__('torch').tensor"))
    expected = (originals(folder) + 51).clip(0, 255)
    assert np.abs(brighter - expected).max() <= 2


def test_random_decisions_differ_between_versions_and_follow_the_seed(lib: SimpleNamespace, folder: Path) -> None:
    shifting = """
    def batch_transform(self, images, targets):
        from augment import RandomShift
        return RandomShift(3)(images), targets
"""
    pixels = shown(lib, folder, shifting, (3,) * 8)
    assert len({version.tobytes() for version in pixels}) > 1
    assert np.array_equal(pixels, shown(lib, folder, shifting, (3,) * 8))


# ---------------------------------------------------------------------- from the sandbox


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, task: Dataset) -> Iterator[Bench]:
    plain = executor(task, choose("auto"), tmp_path_factory.mktemp("run"))
    made = Bench(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain) if f.init})
    yield made
    made.close()
    remove(made.folder)


def fitted(bench: Bench, iteration: int, data: str = "") -> Fit:
    pipeline = honest().with_component("data", honest().data + data)
    fit = bench.fit(iteration, pipeline, sampled=rows_to_augment(bench.dataset))
    assert fit.failure is None  # whatever becomes of the samples
    return fit


def test_a_picture_is_kept_with_the_originals_at_its_left(bench: Bench, task: Dataset, tmp_path: Path) -> None:
    fit = fitted(bench, 0)
    kept = samples.keep(fit.samples, task, tmp_path, 7)
    assert kept == {"samples": "samples/augmented-007.png", "samples_note": ""}
    with Image.open(tmp_path / kept["samples"]) as picture:
        pixels = np.asarray(picture).astype(int)
    step = SIDE + GAP
    assert pixels.shape == (min(SAMPLED, CLASSES) * step - GAP, (1 + VERSIONS) * step - GAP, 3)
    for row in range(CLASSES):
        tiles = [pixels[row * step :, x * step :][:SIDE, :SIDE] for x in range(1 + VERSIONS)]
        assert np.abs(tiles[0] - tiles[1]).max() <= 1  # the honest component changes nothing
        assert tiles[0].std() > 10


@pytest.mark.parametrize(
    ("iteration", "returned", "problem"),
    [
        (1, "numpy.zeros(10, 'uint8')", "10 bytes came instead of"),
        (2, "1 / 0", "ZeroDivisionError"),
        (3, "numpy.zeros(10_000_000, 'uint8')", "more output than was asked for"),
    ],
    ids=["short", "crash", "flood"],
)
def test_what_is_no_picture_is_left_out_and_said(
    bench: Bench, task: Dataset, tmp_path: Path, iteration: int, returned: str, problem: str
) -> None:
    """Generated code may replace what draws the samples. It costs the picture, never the training."""
    fit = fitted(bench, iteration, f"\nimport numpy, samples\nsamples.augmented = lambda *a: {returned}\n")
    assert fit.samples is not None
    assert fit.samples.pixels is None
    kept = samples.keep(fit.samples, task, tmp_path, iteration)
    assert kept["samples"] is None
    assert problem in kept["samples_note"]
    assert not list(tmp_path.iterdir())


def test_none_are_drawn_unless_asked_for(bench: Bench, task: Dataset, tmp_path: Path) -> None:
    assert bench.fit(4, honest()).samples is None
    assert samples.keep(None, task, tmp_path, 4) == {"samples": None, "samples_note": ""}


def test_the_sides_of_both_processes_agree() -> None:
    assert SAMPLE_SIDE == SIDE
