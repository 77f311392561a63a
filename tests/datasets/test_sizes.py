"""How large images are prepared: from the images and the time limit, said, and alike for new images."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, TimeLimit, prepare
from improve.datasets.sizes import SIDES, chosen
from improve.pipeline.template.images import Preparation, decode, load_image
from tests.support.photos import photos


def shapes(*sizes: tuple[int, int]) -> np.ndarray:
    return np.array(sizes, dtype=np.int64)


def config(**values: Any) -> DatasetConfig:
    return DatasetConfig(name="mine", source="folder", **values)


PHOTOS = shapes(*[(400, 533)] * 9, (533, 400))
ONE_CORE, A_GPU = TimeLimit(120), TimeLimit(120, gpu=True)


@pytest.mark.parametrize(
    ("originals", "values", "limit", "images", "expected"),
    [
        (PHOTOS, {}, ONE_CORE, 3000, (128, 160, "crop")),
        (PHOTOS, {}, TimeLimit(130), 3000, (128, 160, "crop")),
        (PHOTOS, {}, ONE_CORE, 300, (224, 280, "crop")),
        (PHOTOS, {}, ONE_CORE, 50_000, (64, 80, "crop")),
        (PHOTOS, {}, A_GPU, 20_000, (224, 280, "crop")),
        (PHOTOS, {"fit": "squash"}, TimeLimit(60), 3000, (128, 160, "squash")),
        (PHOTOS, {"image_size": 96}, ONE_CORE, 3000, (96, 120, "crop")),
        (PHOTOS, {"image_size": 600}, ONE_CORE, 3000, (600, 0, "crop")),
        (shapes((128, 128)), {}, ONE_CORE, 3000, (128, 0, "crop")),
        (shapes((140, 140)), {}, TimeLimit(60), 3000, (128, 0, "crop")),
        (shapes((32, 32)), {}, ONE_CORE, 50_000, (32, 0, "crop")),
        (shapes((300, 900), (900, 200), (1000, 400)), {}, ONE_CORE, 3000, (128, 160, "pad")),
        (shapes((12, 50)), {}, ONE_CORE, 3000, (50, 0, "pad")),
        (np.zeros((0, 2), np.int64), {}, ONE_CORE, 300, (224, 0, "crop")),
    ],
)
def test_the_size_follows_the_images_and_the_time(
    originals: np.ndarray, values: dict[str, Any], limit: TimeLimit, images: int, expected: tuple[int, int, str]
) -> None:
    size = chosen(originals, config(**values), limit, images)
    assert (size.height, size.stored, size.fit) == expected
    assert size.height == size.width
    unchanged = len(originals) > 0 and bool((originals == size.height).all())
    assert size.why == "" if unchanged else f"at {size.height} × {size.height} pixels" in size.why


@given(st.integers(8, 4000), st.integers(8, 4000), st.floats(1, 1e5), st.integers(1, 10**6))
def test_never_larger_than_the_images(height: int, width: int, seconds: float, images: int) -> None:
    size = chosen(shapes((height, width)), config(), TimeLimit(seconds), images)
    assert 1 <= size.height <= min(max(height, width), SIDES[-1])
    assert size.stored == 0 or size.height < size.stored <= max(height, width)


def circle(height: int, width: int) -> Image.Image:
    """A white disc in the middle, on grey, with a red edge at the left and a blue one at the right."""
    y, x = np.mgrid[0:height, 0:width]
    inside = (y - height / 2 + 0.5) ** 2 + (x - width / 2 + 0.5) ** 2 < (0.4 * min(height, width)) ** 2
    pixels = np.where(inside[..., None], 255, 100).astype(np.uint8).repeat(3, axis=-1)
    pixels[:, : width // 20] = (255, 0, 0)
    pixels[:, -(width // 20) :] = (0, 0, 255)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, quality=95)
    return file


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (1500, 2000), (400, 300), (90, 70), (31, 100)])
def test_proportions_are_kept(form: str, height: int, width: int) -> None:
    """A disc stays a disc; what is cut off or filled up is the same on both sides."""
    for fit in ("crop", "pad"):
        prepared = load_image(encoded(circle(height, width), form), Preparation(64, 64, 3, fit)).astype(int)
        white = prepared.min(axis=-1) > 180
        rows, columns = white.any(axis=1).sum(), white.any(axis=0).sum()
        assert abs(int(rows) - int(columns)) <= 2, fit
        side = 0.8 * 64 * (1 if fit == "crop" else min(height, width) / max(height, width))
        assert abs(rows - side) <= 3, fit
        assert np.abs(white.astype(int) - white[::-1]).mean() < 0.05
    whole = load_image(encoded(circle(height, width), form), Preparation(64, 64, 3, "squash"))
    assert min(whole[32, 0, 0], whole[32, -1, 2]) > 150, "squashed: nothing is cut off"


def test_what_pads_is_the_colour_of_the_border() -> None:
    for background in (0, 255, 90):
        image = Image.new("L", (200, 50), background)
        image.paste(130, (80, 10, 120, 40))
        prepared = load_image(encoded(image, "PNG"), Preparation(40, 40, 1, "pad"))
        assert prepared[0, 0, 0] == prepared[-1, -1, 0] == background


def opened(root: Path, limit: TimeLimit | None = None, **values: Any) -> Dataset:
    return prepare(config(path=str(root), **values), root.parent / "cache", lambda line: None, limit=limit)


def test_the_card_and_the_audit_say_what_was_chosen(tmp_path: Path) -> None:
    dataset = opened(photos(tmp_path / "i"), subset=24)
    assert (dataset.height, dataset.stored, dataset.fit) == (224, 280, "crop")
    assert np.load(dataset.train_folder / "images.npy", mmap_mode="r").shape[1:] == (280, 280, 3)
    card = yaml.safe_load(dataset.card())
    assert card["image"] == {"height": 224, "width": 224, "channels": 3, "stored": "280 × 280"}
    (finding,) = [finding for finding in dataset.audit if finding.code == "size"]
    assert "at 224 × 224 pixels" in finding.what
    assert "kept at 280 × 280 for random crops: the middle square of each picture (75% of it" in finding.what
    assert finding.what in card["notes"]
    assert dataset.record()["stored"] == 280


def test_a_limit_that_is_a_little_different_prepares_nothing_anew(tmp_path: Path) -> None:
    root = photos(tmp_path / "i")
    first = opened(root, TimeLimit(60))
    assert opened(root, TimeLimit(66)).folder == first.folder
    assert opened(root, TimeLimit(600)).folder != first.folder


def test_new_images_are_prepared_as_those_of_the_training(tmp_path: Path) -> None:
    root = photos(tmp_path / "i")
    dataset = opened(root, image_size=32)
    record = {"height": dataset.height, "width": dataset.width, "channels": 3, "stored": dataset.stored}
    to = Preparation.of({**record, "fit": dataset.fit, "white": dataset.white})
    known = {
        image.tobytes() for s in ("train", "selection", "test") for image in np.load(dataset.folder / s / "images.npy")
    }
    assert known == {load_image(path, to).tobytes() for path in root.rglob("*.jpg")}


def test_a_context_of_an_older_version_means_what_it_meant_then() -> None:
    to = Preparation.of({"height": 24, "width": 32, "channels": 1})
    assert to == Preparation(24, 32, 1, "squash", 65535)


def test_decoding_large_jpegs_is_no_slower_than_it_was(tmp_path: Path) -> None:
    """Compared in one run: what is stored larger is decoded at half the size where that suffices."""
    file = encoded(circle(400, 533), "JPEG").getvalue()

    def seconds(to: Preparation) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(20):
                load_image(io.BytesIO(file), to)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(Preparation(160, 160, 3, "crop")) < 1.1 * seconds(Preparation(128, 128, 3, "squash"))
    assert decode(io.BytesIO(file), Preparation(160, 160, 3, "crop")).image.size == (267, 200)
