"""Near-duplicates: the same picture saved otherwise is found, another picture is not, and the work stays bounded."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from improve.datasets.near_duplicates import NEIGHBOURS, PARTS, near_pairs

COUNT, SIDE = 60, 48


def scenes(count: int, seed: int = 0) -> list[Image.Image]:
    """Blurred colours: as different from each other as photos are, and as smooth."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in coarse]


def stacked(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.convert("RGB").resize((SIDE, SIDE))) for image in images])


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file)


def pairs_of(images: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in near_pairs(images, np.arange(len(images)))}


@pytest.mark.parametrize(
    "change",
    [
        compressed,
        lambda image: image.resize((30, 30)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.2),
        lambda image: ImageEnhance.Contrast(image).enhance(0.8),
        lambda image: image.convert("L"),
    ],
    ids=["recompressed", "rescaled", "brighter", "paler", "grey"],
)
def test_the_same_picture_saved_otherwise_is_found(change: Callable[[Image.Image], Image.Image]) -> None:
    originals = scenes(COUNT)
    found = pairs_of(stacked([*originals, *map(change, originals)]))
    expected = {(row, row + COUNT) for row in range(COUNT)}
    assert len(found & expected) >= 0.95 * COUNT
    assert found <= expected


def test_other_pictures_are_not_found() -> None:
    assert pairs_of(stacked(scenes(400))) == set()


def test_a_mirrored_picture_is_another_one() -> None:
    originals = scenes(COUNT)
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in originals]
    assert pairs_of(stacked([*originals, *mirrored])) == set()


def variants(count: int, seed: int = 0) -> list[Image.Image]:
    """One motif, drawn again and again with slightly different parts, as digits and centred clothes are."""
    generator = np.random.default_rng(seed)
    motif = generator.integers(0, 256, (6, 6, 3)).astype(float)
    drawn = np.clip(motif + generator.normal(0, 14, (count, 6, 6, 3)), 0, 255).astype(np.uint8)
    return [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in drawn]


def test_pictures_that_look_alike_by_nature_are_no_duplicates_but_their_copies_are() -> None:
    originals = variants(300)
    copies = [ImageEnhance.Brightness(image).enhance(0.9) for image in originals[:20]]
    found = pairs_of(stacked([*originals, *copies]))
    expected = {(row, row + 300) for row in range(20)}
    assert len(found & expected) >= 19
    assert len(found - expected) <= 15


@given(st.permutations(range(20)))
@settings(deadline=None, max_examples=10)
def test_the_order_of_the_images_has_no_influence(order: list[int]) -> None:
    images = stacked([*scenes(10), *map(compressed, scenes(10))])
    shuffled = {tuple(sorted((order[a], order[b]))) for a, b in pairs_of(images[order])}
    assert shuffled == pairs_of(images)


def test_only_the_rows_asked_for_are_looked_at() -> None:
    images = stacked([*scenes(5), *scenes(5)])
    found = near_pairs(images, np.array([7, 2, 9]))
    assert found.tolist() == [[0, 1]]  # positions in the rows given


def test_pictures_without_content_or_too_small_are_not_compared() -> None:
    flat = np.full((10, SIDE, SIDE, 1), 7, dtype=np.uint8)
    assert pairs_of(flat) == set()
    assert pairs_of(stacked(scenes(4) * 2)[:, ::4, ::4]) == set()


def test_many_alike_cost_no_square() -> None:
    """A thousand nearly equal pictures: each is compared with some, not with all."""
    one = stacked(scenes(1))[0].astype(np.int16)
    noise = np.random.default_rng(0).integers(-2, 3, (1000, SIDE, SIDE, 3))
    found = pairs_of((one + noise).clip(0, 255).astype(np.uint8))
    assert 1000 <= len(found) <= PARTS * NEIGHBOURS * 1000
