"""Ideas for the Data Engineer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from improve.expert import cost
from improve.expert.idea import Idea
from improve.expert.recipe import DataRecipe, Settings, changed
from improve.expert.situation import (
    Situation,
    label_depends_on_direction,
    label_depends_on_turning,
    natural_photos,
)


def data_ideas(now: Situation) -> Iterator[Idea]:
    yield from _places(now)
    yield from _mirrors(now)
    yield from _shapes(now)
    yield from _hiding(now)
    yield from _mixing(now)
    yield from _policies(now)
    yield from _sizes(now)
    yield from _balance(now)


def _strength(now: Situation) -> float:
    """How much more variation is wanted: a lot where training images are known by heart, little where they are not."""
    if now.train is None:
        return 1.0
    if now.overfits:
        return 2.2 if now.train > 0.97 else 1.7
    return 0.35 if now.train < 0.8 else 0.8


def _evidence(now: Situation) -> str:
    if now.train is None:
        return "More varied training images should generalise better."
    if now.overfits:
        return (
            f"It gets {now.train:.0%} of the training images right but only {now.accuracy:.0%} of new ones: it learns "
            "them by heart."
        )
    return "The training images do not cover all the variation that new images show."


def _places(now: Situation) -> Iterator[Idea]:
    present = now.recipes.data
    side = cost.side_of(present, now.task)
    usual = max(1, side // 10)
    if not present.shift:
        value = 0.16 * (max(0.7, _strength(now)))
        yield Idea(
            "shifts", "data", {"shift": usual}, value, _evidence(now),
            f"Move each training image by up to {usual} pixels at random in both directions (RandomShift({usual})).",
        )  # fmt: skip
        return
    more, less = present.shift + max(1, present.shift // 2), present.shift // 2
    if more <= side // 4:
        yield Idea(
            "larger-shifts", "data", {"shift": more}, 0.05 * _strength(now), _evidence(now),
            f"Move the images by up to {more} pixels instead of {present.shift}.",
        )  # fmt: skip
    yield Idea(
        "smaller-shifts", "data", {"shift": less}, 0.03 if now.underfits else 0.015,
        "Moving the images makes learning slower.",
        f"Move the images by at most {less} pixels." if less else "Do not move the images.",
    )  # fmt: skip


def _mirrors(now: Situation) -> Iterator[Idea]:
    directed = label_depends_on_direction(now.task)
    if now.recipes.data.flip:
        lost = now.gap is not None and now.gap < 0.02 and now.accuracy < 0.75
        yield Idea(
            "no-mirroring", "data", {"flip": False}, 0.5 if directed else 0.06 if lost else 0.02,
            "Mirrored images seem to belong to other classes." if directed or lost else "Mirroring may not fit here.",
            "Remove the horizontal flip.",
        )  # fmt: skip
    else:
        # Grey images without a word about them: mirroring is a gamble that the first try settles.
        value = 0.002 if directed else 0.13 if natural_photos(now.task) else 0.04
        yield Idea(
            "mirroring", "data", {"flip": True}, value * max(0.6, _strength(now)), _evidence(now),
            "Mirror half of the training images left to right (RandomHorizontalFlip()).",
        )  # fmt: skip


def _shapes(now: Situation) -> Iterator[Idea]:
    present = now.recipes.data
    zoom, turn = 0.05 * _strength(now), 0.06 * _strength(now)
    if not present.zoom:
        yield Idea(
            "zoom", "data", {"zoom": 0.1}, zoom, _evidence(now),
            "Scale each training image at random by 0.9 to 1.1 (RandomAffine(scale=(0.9, 1.1))).",
        )  # fmt: skip
    if not present.degrees and not label_depends_on_turning(now.task):
        yield Idea(
            "small-turns", "data", {"degrees": 10.0, "zoom": max(0.1, present.zoom)}, turn, _evidence(now),
            "Turn each training image at random by up to 10 degrees and scale it by 0.9 to 1.1.",
        )  # fmt: skip
    if present.zoom or present.degrees:
        yield Idea(
            "no-affine", "data", {"degrees": 0.0, "zoom": 0.0}, 0.04 if now.underfits else 0.015,
            "Interpolated images are blurred and differ from real ones.", "Remove the random turns and scalings.",
        )  # fmt: skip


def _hiding(now: Situation) -> Iterator[Idea]:
    present, strength = now.recipes.data, _strength(now)
    if not present.erase:
        yield Idea(
            "erasing", "data", {"erase": 0.25}, 0.03 * strength, _evidence(now),
            "Blank a random square in a quarter of the training images (RandomErasing(p=0.25)).",
        )  # fmt: skip
    if now.task.channels >= 3 and not present.color:
        yield Idea(
            "colour-changes", "data", {"color": 0.2}, 0.045 * strength, _evidence(now),
            "Change brightness, contrast and colour balance of each training image by up to 20%, 20% and 10%.",
        )  # fmt: skip
    used = {name: 0.0 for name in ("erase", "color") if getattr(present, name)}
    if used:
        yield Idea(
            "plainer-images", "data", used, 0.05 if now.underfits else 0.01,
            "The training images are harder than they need to be.", f"Remove: {', '.join(used)}.",
        )  # fmt: skip


def _mixing(now: Situation) -> Iterator[Idea]:
    present, strength = now.recipes.data, _strength(now)
    long_enough = 1.0 if now.recipes.training.epochs >= 15 else 0.5
    if not present.cutmix and not present.mixup:
        yield Idea(
            "cutmix", "data", {"cutmix": 0.5}, 0.05 * strength * long_enough * (1 if now.task.channels >= 3 else 0.4),
            _evidence(now),
            "Paste a rectangle of another image into half of the images and mix the labels by area (CutMix, p=0.5).",
        )  # fmt: skip
        yield Idea(
            "mixup", "data", {"mixup": 0.2}, 0.045 * strength * long_enough, _evidence(now),
            "Blend each training image with another one, and their labels (MixUp, alpha 0.2).",
        )  # fmt: skip
    else:
        yield Idea(
            "no-mixing", "data", {"mixup": 0.0, "cutmix": 0.0}, 0.06 if now.underfits else 0.015,
            "Mixed images slow learning down when the training is short.", "Remove MixUp and CutMix.",
        )  # fmt: skip


def _policies(now: Situation) -> Iterator[Idea]:
    """torchvision's automatic augmentations: image by image, so they cost time, and they turn and shear."""
    present = now.recipes.data
    if present.auto:
        yield Idea(
            "no-automatic-augmentation", "data", {"auto": ""}, 0.06 if now.underfits else 0.015,
            "The automatic augmentation costs time and makes the images harder.", f"Remove {present.auto}.",
        )  # fmt: skip
        return
    if label_depends_on_turning(now.task):
        return
    for name, title, value in (
        ("trivialaugment", "TrivialAugmentWide", 0.05), ("randaugment", "RandAugment", 0.04), ("augmix", "AugMix", 0.01)
    ):  # fmt: skip
        if now.fits(dataclasses.replace(now.recipes, data=changed(present, {"auto": name}))):
            yield Idea(
                name, "data", {"auto": name}, value * _strength(now) * (1 if now.task.channels >= 3 else 0.4),
                _evidence(now), f"Add torchvision's {title} before the normalisation.",
            )  # fmt: skip


def _sizes(now: Situation) -> Iterator[Idea]:
    present = now.recipes.data
    side = cost.side_of(present, now.task)
    original = now.task.side
    larger = min(original, round(side * 1.5 / 16) * 16) if side < original else side * 2 if side <= 12 else 0
    if larger > side:
        pretrained = now.recipes.model.family == "pretrained"
        value = (0.32 if pretrained else 0.14) if side < original else 0.06
        because = "The pretrained features know finer images." if pretrained else "Finer images show more."
        yield from _size(now, larger, value, because)
    if side >= 48:
        few = now.recipes.training.epochs <= 5
        yield from _size(
            now, max(32, round(side * 0.75 / 16) * 16), 0.06 if few and now.underfits else 0.015,
            "Smaller images cost less time, so that each can be seen more often.",
        )  # fmt: skip


def _size(now: Situation, size: int, value: float, because: str) -> Iterator[Idea]:
    settings: Settings = {"size": 0 if size == now.task.side else size}
    data: DataRecipe = changed(now.recipes.data, settings)
    if now.fits(dataclasses.replace(now.recipes, data=data)):
        yield Idea(
            "larger-images" if size > cost.side_of(now.recipes.data, now.task) else "smaller-images", "data", settings,
            value, because, f"Resize all images to {size} × {size} pixels in both transforms.",
        )  # fmt: skip


def _balance(now: Situation) -> Iterator[Idea]:
    if now.recipes.data.balanced:
        yield Idea(
            "natural-frequencies", "data", {"balanced": False}, 0.02,
            "Drawing rare images again and again makes the network learn them by heart.", "Remove the sampler.",
        )  # fmt: skip
    elif now.task.imbalance >= 2.5:
        yield Idea(
            "balanced-sampling", "data", {"balanced": True}, min(0.09, 0.02 * now.task.imbalance),
            f"The commonest class has {now.task.imbalance:.1f} times as many images as the rarest.",
            "Draw every class equally often (a WeightedRandomSampler with weights 1 / class size).",
        )  # fmt: skip
