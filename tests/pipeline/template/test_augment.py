"""The batch augmentations: shapes, one decision an image, and each against a plain computation of what it claims."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import template as support

SHAPES = st.tuples(st.integers(1, 5), st.sampled_from((1, 3)), st.integers(6, 12), st.integers(6, 12))
NAMES = ("RandomShift", "RandomHorizontalFlip", "RandomErasing", "RandomAffine", "ColorJitter")
OPTIONS: dict[str, dict[str, Any]] = {
    "RandomShift": {"pixels": 2},
    "RandomAffine": {"degrees": 20, "scale": (0.8, 1.2), "translate": 0.1},
}


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


def made(lib: SimpleNamespace, name: str) -> Any:
    return getattr(lib.augment, name)(**OPTIONS.get(name, {}))


def batch(lib: SimpleNamespace, shape: tuple[int, ...], seed: int) -> Any:
    """Images whose pixels all differ, none of them 0."""
    generator = lib.torch.Generator().manual_seed(seed)
    return lib.torch.rand(shape, generator=generator) + 0.5


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), name=st.sampled_from(NAMES))
def test_shape_and_type_stay_and_the_input_is_not_changed(
    lib: SimpleNamespace, shape: tuple[int, ...], seed: int, name: str
) -> None:
    images = batch(lib, shape, seed)
    before = images.clone()
    changed = made(lib, name)(images)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert lib.torch.isfinite(changed).all()
    assert lib.torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_a_decision_of_its_own(lib: SimpleNamespace, name: str) -> None:
    lib.torch.manual_seed(0)
    same = batch(lib, (1, 3, 12, 12), 0).expand(64, -1, -1, -1)
    changed = made(lib, name)(same)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > (1 if name == "RandomHorizontalFlip" else 8)


@settings(max_examples=15, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 999), pixels=st.integers(0, 3))
def test_a_shift_is_an_explicit_crop_of_the_padded_image(
    lib: SimpleNamespace, shape: tuple[int, ...], seed: int, pixels: int
) -> None:
    images = batch(lib, shape, seed)
    lib.torch.manual_seed(seed)
    shifted = lib.augment.RandomShift(pixels)(images)
    height, width = shape[2:]
    for image, result in zip(images, shifted, strict=True):
        padded = lib.torch.nn.functional.pad(image, (pixels,) * 4, mode="replicate")
        moves = [(top, left) for top in range(2 * pixels + 1) for left in range(2 * pixels + 1)]
        crops = [padded[:, top : top + height, left : left + width] for top, left in moves]
        assert sum(lib.torch.equal(result, crop) for crop in crops) >= 1


def test_a_black_ground_stays_black(lib: SimpleNamespace) -> None:
    black = lib.torch.full((8, 3, 9, 9), -1.5)  # normalised; zero is the mean's grey
    for part in (lib.augment.RandomShift(3), lib.augment.RandomAffine(20, (0.6, 1.2), 0.3)):
        assert lib.torch.allclose(part(black), black, atol=1e-4)


def test_shifts_reach_every_offset(lib: SimpleNamespace) -> None:
    lib.torch.manual_seed(0)
    image = lib.torch.zeros(1, 1, 7, 7)
    image[..., 3, 3] = 1.0
    shifted = lib.augment.RandomShift(2)(image.expand(800, -1, -1, -1))
    assert {tuple(place[2:]) for place in shifted.nonzero().tolist()} == {
        (y, x) for y in range(1, 6) for x in range(1, 6)
    }


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_flips_mirror_left_to_right_as_often_as_asked(lib: SimpleNamespace, p: float) -> None:
    lib.torch.manual_seed(0)
    images = batch(lib, (200, 3, 6, 6), 1)
    flipped = lib.augment.RandomHorizontalFlip(p)(images)
    mirrored = [bool(lib.torch.equal(a, b.flip(-1))) for a, b in zip(flipped, images, strict=True)]
    kept = [bool(lib.torch.equal(a, b)) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert abs(sum(mirrored) / 200 - p) <= (0.15 if p == 0.5 else 0)


def test_erasing_blanks_one_square_of_at_most_its_size(lib: SimpleNamespace) -> None:
    lib.torch.manual_seed(0)
    erased = lib.augment.RandomErasing(size=0.5, p=0.5)(batch(lib, (200, 2, 16, 16), 1))
    blank = erased == 0
    assert lib.torch.equal(blank[:, 0], blank[:, 1])  # the same place in all channels
    untouched = 0
    for image in blank[:, 0]:
        rows, columns = image.any(dim=1).nonzero().flatten(), image.any(dim=0).nonzero().flatten()
        untouched += len(rows) == 0
        if len(rows):
            assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert max(len(rows), len(columns)) <= 0.5 * 16 + 1
    assert 0.4 < untouched / 200 < 0.75


def test_an_affine_map_without_strength_changes_nothing(lib: SimpleNamespace) -> None:
    images = batch(lib, (4, 3, 9, 9), 0)
    assert lib.torch.allclose(lib.augment.RandomAffine()(images), images, atol=1e-5)


def test_a_quarter_turn_is_a_quarter_turn(lib: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    images = batch(lib, (2, 1, 8, 8), 0)
    monkeypatch.setattr(lib.augment.torch, "rand", lambda *shape, **_: lib.torch.ones(*shape))
    turned = lib.augment.RandomAffine(degrees=90)(images)
    candidates = [lib.torch.rot90(images, k, (2, 3)) for k in (1, -1)]
    assert any(lib.torch.allclose(turned, candidate, atol=1e-4) for candidate in candidates)


def test_jitter_without_strength_changes_nothing_and_with_it_keeps_the_order_of_pixels(lib: SimpleNamespace) -> None:
    images = batch(lib, (8, 3, 6, 6), 0)
    assert lib.torch.allclose(lib.augment.ColorJitter(0, 0, 0)(images), images, atol=1e-6)
    jittered = lib.augment.ColorJitter(0.3, 0.5, 0.2)(images)
    assert lib.torch.equal(jittered.flatten(2).argsort(dim=2), images.flatten(2).argsort(dim=2))


def test_a_chain_goes_in_its_order(lib: SimpleNamespace) -> None:
    chain = lib.augment.Chain(lambda x: x + 1, lambda x: x * 10)
    assert chain(lib.torch.ones(1)).item() == 20


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_a_chain_mixes_labels_if_it_is_given_them(lib: SimpleNamespace, name: str) -> None:
    chain = lib.augment.Chain(lib.augment.RandomShift(1), getattr(lib.augment, name)(5))
    images, mixed = chain(batch(lib, (4, 3, 8, 8), 0), lib.torch.arange(4))
    assert images.shape == (4, 3, 8, 8)
    assert mixed.shape == (4, 5)
    with pytest.raises(TypeError, match=rf"{name} changes the targets, too: .*chain\(images, targets\)"):
        chain(images)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 8), seed=st.integers(0, 999), soft=st.booleans(), name=st.sampled_from(("MixUp", "CutMix")))
def test_mixed_targets_are_distributions(lib: SimpleNamespace, count: int, seed: int, soft: bool, name: str) -> None:
    lib.torch.manual_seed(seed)
    targets = lib.torch.randint(0, 5, (count,))
    given_targets = lib.augment.one_hot(targets, 5) if soft else targets
    images, mixed = getattr(lib.augment, name)(5)(batch(lib, (count, 3, 8, 8), seed), given_targets)
    assert images.shape == (count, 3, 8, 8)
    assert mixed.shape == (count, 5)
    assert mixed.min() >= 0
    assert lib.torch.allclose(mixed.sum(dim=1), lib.torch.ones(count), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 8), seed=st.integers(0, 999), name=st.sampled_from(("MixUp", "CutMix")))
def test_labels_mix_in_the_share_of_the_pixels(lib: SimpleNamespace, count: int, seed: int, name: str) -> None:
    """Image i is i everywhere and of class i: then a mixed image's mean is the mean class of its target."""
    lib.torch.manual_seed(seed)
    numbers = lib.torch.arange(count)
    images = numbers.float().view(-1, 1, 1, 1).expand(-1, 2, 10, 10)
    mixer = lib.augment.MixUp(count, alpha=1.0) if name == "MixUp" else lib.augment.CutMix(count, p=1.0)
    mixed, targets = mixer(images, numbers)
    assert lib.torch.allclose(mixed.mean(dim=(1, 2, 3)), targets @ numbers.float(), atol=1e-4)


def test_cutmix_pastes_whole_pixels_and_spares_a_share_of_the_images(lib: SimpleNamespace) -> None:
    lib.torch.manual_seed(0)
    numbers = lib.torch.arange(300)
    images = numbers.float().view(-1, 1, 1, 1).expand(-1, 1, 12, 12)
    mixed, targets = lib.augment.CutMix(300, p=0.3)(images, numbers)
    assert lib.torch.equal(mixed, mixed.round())
    spared = (targets.max(dim=1).values == 1).float().mean().item()
    assert 0.6 < spared < 0.85
