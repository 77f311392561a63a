"""CIFAR-10-C's corruptions: what each one does to an image, and that the same seed does the same."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.random import RandomState
from PIL import Image
from scipy import ndimage

from improve.datasets.corruptions import NAMES, SEVERITIES, blur, corrupt, draw, weather


def photo(seed: int = 0) -> np.ndarray:
    """A smooth colour picture with an edge, 32 × 32 × 3 uint8: what photos are like."""
    noise = RandomState(seed).uniform(40, 215, size=(32, 32, 3))
    smooth = ndimage.gaussian_filter(noise, (3, 3, 0), mode="wrap")
    smooth[:, 16:] = 255 - smooth[:, 16:] * 0.7
    return np.clip(smooth, 0, 255).astype(np.uint8)


def changed(name: str, severity: int, seed: int = 1) -> np.ndarray:
    return corrupt(photo(), name, severity, RandomState(seed))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_changed_the_same_way_by_the_same_seed(name: str, severity: int) -> None:
    original = photo()
    first = corrupt(original, name, severity, RandomState(1))
    assert (first.shape, first.dtype) == ((32, 32, 3), np.uint8)
    assert np.array_equal(original, photo()), "the original was written to"
    assert np.array_equal(first, changed(name, severity))
    assert distance(first, original) > 0.05
    # Still the same picture.
    alike, mirrored = (np.corrcoef(first.ravel(), other.ravel())[0, 1] for other in (original, original[:, ::-1]))
    assert alike > max(0.2, mirrored)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"elastic_transform"}))
def test_severity_5_changes_more_than_1(name: str) -> None:
    """But for elastic_transform, whose constants shift corners more at severity 1."""
    mild, strong = (np.mean([distance(changed(name, s, seed), photo()) for seed in range(4)]) for s in (1, 5))
    assert strong > mild


def test_noise_has_its_strength() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    for severity, deviation in ((1, 0.04), (5, 0.10)):
        assert corrupt(grey, "gaussian_noise", severity, RandomState(0)).std() / 255 == pytest.approx(
            deviation, rel=0.1
        )
    for severity, photons in ((1, 500), (5, 50)):
        expected = np.sqrt(128 / 255 / photons)
        assert corrupt(grey, "shot_noise", severity, RandomState(0)).std() / 255 == pytest.approx(expected, rel=0.1)
    for severity, share in ((1, 0.01), (5, 0.07)):
        noisy = np.stack([corrupt(grey, "impulse_noise", severity, RandomState(seed)) for seed in range(8)])
        assert np.isin(noisy, (0, 255)).mean() == pytest.approx(share, rel=0.4)
        assert 0.3 < (noisy == 255).sum() / np.isin(noisy, (0, 255)).sum() < 0.7


def test_blurs_spread_a_point_and_keep_its_light() -> None:
    point = np.zeros((32, 32, 3))
    point[16, 16] = 1
    for severity in (0, 1):
        for function in (blur.defocus, blur.motion):
            spread = function(point, severity, RandomState(0))
            assert spread.sum() == pytest.approx(3, rel=0.01)
    width = [(blur.defocus(point, s, RandomState(0))[..., 0] > 0.01).sum() for s in (0, 1)]
    assert width == [5, 9]
    # A trail of one direction: all on one side of the point, and fading.
    tail = blur.trail(point[..., 0], 6, 2.0, 0.0)[16]
    assert tail[17:].sum() == 0
    assert (np.diff(tail[9:17]) >= 0).all()


def test_glass_moves_pixels_by_their_reach_at_most() -> None:
    columns = np.broadcast_to(np.arange(32.0)[None, :, None] / 32, (32, 32, 3))
    moved = blur.glass(columns, 0, RandomState(0))
    assert np.abs(moved - columns).max() <= 1.1 * 1 / 32 + 1 / 255
    assert np.abs(moved - columns).mean() > 0.2 / 32


def test_zoom_keeps_the_middle() -> None:
    image = photo() / 255.0
    assert np.array_equal(blur.zoomed(image, 1.0), image)
    larger = blur.zoomed(image, 1.26)
    assert larger.shape == image.shape
    assert distance(larger[12:20, 12:20], image[13:19, 13:19].repeat(2, 0).repeat(2, 1)[2:10, 2:10]) < 0.1


def test_fog_is_a_cloud_that_fits_its_other_edge() -> None:
    for fading in (3, 1.75):
        cloud = weather.plasma(32, fading, RandomState(3))
        assert (cloud.min(), cloud.max()) == (0, 1)
        inner = np.abs(np.diff(cloud, axis=0)).mean()
        assert np.abs(cloud[0] - cloud[-1]).mean() < 3 * inner
    rough = [np.abs(np.diff(weather.plasma(32, fading, RandomState(3)))).mean() for fading in (3, 1.75)]
    assert rough[1] > 1.2 * rough[0], "details fade more slowly"


def test_brightness_keeps_the_hue_and_contrast_the_mean() -> None:
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16] = (100, 50, 20)
    bright = corrupt(colours, "brightness", 5, RandomState(0)).astype(float)
    assert bright[0, 0, 0] == pytest.approx(100 + 0.3 * 255, abs=1)
    assert bright[0, 0, 1] / bright[0, 0, 0] == pytest.approx(0.5, abs=0.02)
    assert bright[20, 0].tolist() == [76, 76, 76], "black becomes grey"
    original = photo()
    for severity, strength in ((1, 0.75), (5, 0.15)):
        flat = changed("contrast", severity).astype(float)
        assert flat.mean() == pytest.approx(original.mean(), abs=1)
        assert flat.std() < strength * original.std() + 20


def test_pixelate_and_jpeg_are_pillows() -> None:
    picture = Image.fromarray(photo())
    few = picture.resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.array_equal(changed("pixelate", 5), np.asarray(few))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    assert np.array_equal(changed("jpeg_compression", 5), np.asarray(Image.open(file)))


def test_each_corruption_is_drawn_equally_often() -> None:
    drawn = [[draw(seed, row)[0] for row in range(3000)] for seed in (0, 1)]
    counts = np.array([names.count(name) for names in drawn for name in NAMES])
    assert len(NAMES) == 15
    # 200 expected each, sd 14.
    assert counts.min() > 140
    assert counts.max() < 260
    assert drawn[0] != drawn[1]


def test_what_it_is_not_made_for_is_refused() -> None:
    with pytest.raises(ValueError, match="severities 1 and 5"):
        corrupt(photo(), "fog", 3, RandomState(0))
    with pytest.raises(ValueError, match="32 × 32"):
        corrupt(np.zeros((64, 64, 3), np.uint8), "fog", 1, RandomState(0))
