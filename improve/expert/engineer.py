"""The engineers: the present recipe, changed as the feedback asks, written as a component."""

from __future__ import annotations

import dataclasses
import re

from improve.domain import Component
from improve.expert.first import first_recipes
from improve.expert.reading import Facts
from improve.expert.recipe import (
    DataRecipe,
    ModelRecipe,
    Recipe,
    Recipes,
    TrainingRecipe,
    Value,
    changed,
    find,
    settings_in,
)
from improve.expert.situation import Situation
from improve.expert.writing_data import write_data
from improve.expert.writing_model import write_model
from improve.expert.writing_training import write_training

_DIGITS = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
# What other people's words ask for: a phrase with a number, and the setting it means.
_NUMBERED = (
    (rf"{_DIGITS} epochs|epochs\D{{0,20}}{_DIGITS}", "epochs"),
    (rf"batch(?:es| size)\D{{0,20}}{_DIGITS}", "batch_size"),
    (rf"(?:learning rate|\blr)\D{{0,20}}{_DIGITS}", "lr"),
    (rf"weight decay\D{{0,12}}{_DIGITS}", "weight_decay"),
    (rf"label[ _]smoothing\D{{0,12}}{_DIGITS}", "label_smoothing"),
    (rf"drop_?out\D{{0,12}}{_DIGITS}", "dropout"),
    (rf"shift\D{{0,20}}{_DIGITS}", "shift"),
    (rf"ema\D{{0,20}}{_DIGITS}", "ema"),
)
_NAMED: tuple[tuple[str, str, Value], ...] = (
    (r"one-?cycle", "schedule", "onecycle"), (r"cosine", "schedule", "cosine"), (r"adamw", "optimizer", "adamw"),
    (r"\bsgd\b|nesterov", "optimizer", "sgd"), (r"residual|resnet", "family", "residual"), (r"mixup", "mixup", 0.2),
    (r"cutmix", "cutmix", 0.5), (r"erasing|cutout", "erase", 0.25), (r"colou?r ?jitter", "color", 0.2),
    (r"trivialaugment", "auto", "trivialaugment"), (r"randaugment", "auto", "randaugment"),
    (r"augmix", "auto", "augmix"),
    (r"horizontal flip|mirror", "flip", True), (r"balanced|oversampl|weightedrandomsampler", "balanced", True),
)  # fmt: skip


def present_recipes(facts: Facts) -> Recipes:
    """The recipes of the present sources; for a source that carries none, what the expert would have written first."""
    first = first_recipes(facts.task)
    return Recipes(
        find(DataRecipe, facts.sources.get("data", "")) or first.data,
        find(ModelRecipe, facts.sources.get("model", "")) or first.model,
        find(TrainingRecipe, facts.sources.get("training", "")) or first.training,
    )


def write(recipe: Recipe) -> str:
    """The component that a recipe stands for."""
    if isinstance(recipe, DataRecipe):
        return write_data(recipe)
    if isinstance(recipe, ModelRecipe):
        return write_model(recipe)
    return write_training(recipe)


def revise(facts: Facts, component: Component) -> str:
    """The engineer's reply: one fenced block with the whole component."""
    recipes = present_recipes(facts)
    recipe = recipes.of(component)
    names, settings = settings_in(facts.feedback)
    wanted = changed(recipe, settings if names else in_words(facts.feedback, component))
    if component == "model":
        wanted = _possible(wanted, Situation(facts, recipes))
    if facts.failed:
        wanted = simpler(wanted)
    return f"```python\n{write(wanted)}```\n"


def in_words(feedback: str, component: Component) -> dict[str, Value]:
    """Settings that a feedback in free words asks for, as far as a few patterns tell."""
    kind = {"data": DataRecipe, "model": ModelRecipe, "training": TrainingRecipe}[component]
    known = {item.name for item in dataclasses.fields(kind)}
    text = feedback.lower()
    settings: dict[str, Value] = {}
    for pattern, name, value in _NAMED:
        found = re.search(pattern, text)
        if found and name in known:
            negated = re.search(r"(?:\bno|\bnot|without|remove|drop|disable|stop)\b[^.]{0,30}$", text[: found.start()])
            settings[name] = _off(value) if negated else value
    for pattern, name in _NUMBERED:
        found = re.search(pattern, text)
        if found and name in known:
            settings[name] = next(group for group in found.groups() if group)
    return settings


def _off(value: Value) -> Value:
    return False if isinstance(value, bool) else 0.0 if isinstance(value, float) else ""


def _possible(wanted: Recipe, now: Situation) -> Recipe:
    """Without weights that are not at hand."""
    if not isinstance(wanted, ModelRecipe):
        return wanted
    if wanted.family == "pretrained" and wanted.name not in now.task.pretrained:
        return dataclasses.replace(wanted, family="residual", name="", stem=2)
    if wanted.family == "timm" and not wanted.name:
        return dataclasses.replace(wanted, family="residual")
    return wanted


def simpler(recipe: Recipe) -> Recipe:
    """What surely works, for a component that failed its check."""
    if isinstance(recipe, DataRecipe):
        return DataRecipe(size=recipe.size, shift=min(recipe.shift, 2), flip=recipe.flip)
    if isinstance(recipe, ModelRecipe):
        widths = tuple(max(8, width // 2) for width in recipe.widths[:3])
        return ModelRecipe(family="plain", stem=2, widths=widths)
    return TrainingRecipe(
        lr=min(recipe.lr, 0.001), batch_size=min(recipe.batch_size, 64), epochs=recipe.epochs, schedule="constant"
    )
