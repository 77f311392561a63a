"""Ideas for when the obvious ones are used up: single numbers up and down, and near misses tried together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from improve.domain import COMPONENTS
from improve.expert.idea import Idea
from improve.expert.recipe import Recipe, Settings, Value, as_text, changed
from improve.expert.situation import Situation, label_depends_on_turning

FACTORS = (1.5, 0.67, 2.0, 0.5, 1.25, 0.8, 3.0, 0.33, 1.12, 0.9)
# Numbers worth tuning, the most telling first; for those that are 0 (not in use), where to start from.
NUMBERS: dict[str, tuple[tuple[str, float | None], ...]] = {
    "training": (
        ("lr", None), ("epochs", None), ("weight_decay", 0.01), ("batch_size", None), ("warmup", 0.1),
        ("ema", None), ("backbone_lr", None), ("clip", 1.0),
    ),
    "data": (
        ("shift", 1), ("zoom", 0.08), ("degrees", 7.0), ("erase", 0.2), ("color", 0.15), ("mixup", 0.1),
        ("cutmix", 0.3),
    ),
    "model": (("widths", None), ("dropout", 0.1), ("label_smoothing", 0.05), ("drop_path", 0.05), ("frozen", None)),
}  # fmt: skip


def tuning_ideas(now: Situation) -> Iterator[Idea]:
    yield from _numbers(now)
    yield from _near_misses(now)


def _numbers(now: Situation) -> Iterator[Idea]:
    for component in COMPONENTS:
        recipe = now.recipes.of(component)
        for place, (name, start) in enumerate(NUMBERS[component]):
            if not _in_use(now, name):
                continue
            present = getattr(recipe, name)
            for rank, factor in enumerate(FACTORS):
                settings = {name: _scaled(name, present or start, factor)}
                if (present or start) and getattr(changed(recipe, settings), name) != present:
                    value = 0.02 * 0.9**place * 0.85**rank * (1 if present else 0.5)
                    yield from _if_it_fits(now, recipe, settings, value)


def _in_use(now: Situation, name: str) -> bool:
    """Whether a number means anything for the present recipes."""
    model = now.recipes.model
    if name in ("frozen", "backbone_lr"):
        return model.family == "pretrained"
    if name == "widths":
        return model.family in ("plain", "residual")
    if name == "drop_path":
        return model.family != "plain"
    if name == "degrees":
        return not label_depends_on_turning(now.task)
    if name == "warmup":
        return now.recipes.training.schedule != "constant"
    return name != "color" or now.task.channels >= 3


def _scaled(name: str, value: Value | None, factor: float) -> Value:
    if isinstance(value, tuple):
        return tuple(max(4, round(width * factor**0.5 / 4) * 4) for width in value)
    number = float(value or 0)
    if name == "ema":  # the length of the average is what matters
        return round(1 - min(0.5, (1 - number) * factor), 4)
    scaled = number * factor
    return max(1, round(scaled)) if isinstance(value, int) else float(f"{scaled:.3g}")


def _if_it_fits(now: Situation, recipe: Recipe, settings: Settings, value: float) -> Iterator[Idea]:
    (name, new), *_ = settings.items()
    if now.fits(now.recipes.changed(settings)):
        before, after = as_text(getattr(recipe, name)), as_text(getattr(changed(recipe, settings), name))
        yield Idea(
            f"tune-{name.replace('_', '-')}", recipe.component, {name: new}, value,
            f"The obvious ideas are used up, and {name} = {before} was never optimised.",
            f"Change {name} from {before} to {after}.",
        )  # fmt: skip


def _near_misses(now: Situation) -> Iterator[Idea]:
    """Changes of one component that helped, but too little to be sure, tried together."""
    for component in COMPONENTS:
        near = [s for s in now.facts.history if s.within_noise and s.component == component and s.settings]
        for position, first in enumerate(near):
            for second in near[position + 1 :]:
                settings = {**first.settings, **second.settings}
                if set(first.settings) & set(second.settings) or not now.fits(now.recipes.changed(settings)):
                    continue
                names = f"{' '.join(first.ideas)} and {' '.join(second.ideas)}"
                yield Idea(
                    "both-near-misses", component, settings, 0.06,
                    f"{names} each gained a little, but too little to be sure.",
                    "Apply both at once: " + ", ".join(f"{k} = {v}" for k, v in settings.items()) + ".",
                )  # fmt: skip


def recovery_ideas(now: Situation) -> Iterator[Idea]:
    """What to do while no pipeline has a score yet: draw the consequence of the last failure."""
    reason = next((s.reason.lower() for s in reversed(now.facts.history) if s.failed), "")
    training, model = now.recipes.training, now.recipes.model
    failures = sum(step.failed for step in now.facts.history)
    half = 0.5 ** max(1, failures)
    because = f"No pipeline has a score yet; the last one failed ({reason.split(':')[0] or 'for an unknown reason'})."
    if "memory" in reason:
        batch = max(4, int(training.batch_size * half))
        yield Idea(
            "smaller-batches", "training", {"batch_size": batch}, 3.0, because, f"Use batches of {batch} images."
        )
    if "nan" in reason or "finite" in reason:
        rate = training.lr * half / 2
        yield Idea(
            "lower-learning-rate", "training", {"lr": rate, "clip": 1.0}, 3.0, because,
            f"Lower the learning rate to {rate:.4g} and clip the gradient's norm at 1.",
        )  # fmt: skip
    if "time" in reason:
        epochs = max(1, int(training.epochs * half))
        yield Idea("shorter-training", "training", {"epochs": epochs}, 3.0, because, f"Train for {epochs} epochs.")
    widths = tuple(max(8, int(width * half)) for width in model.widths)
    yield Idea(
        "simpler-network", "model", {"family": "plain", "stem": 2, "widths": widths}, 2.0, because,
        f"Use a plain convolutional network with {'-'.join(map(str, widths))} channels, in the simplest code.",
    )  # fmt: skip
    yield Idea(
        "plain-data", "data", dataclasses.asdict(type(now.recipes.data)()), 1.5, because,
        "Normalise the images and do nothing else.",
    )  # fmt: skip
    epochs = max(1, round(training.epochs * half))
    yield Idea(
        "plain-training", "training",
        {"schedule": "constant", "optimizer": "adamw", "lr": 5e-4, "ema": 0.0, "epochs": epochs}, 1.4, because,
        f"Use AdamW at a constant learning rate of 0.0005 for {epochs} epochs.",
    )  # fmt: skip
