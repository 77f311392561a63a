"""The first pipeline: what a competent person writes in a few minutes. Plain parts, usual numbers, a short training."""

from __future__ import annotations

from dataclasses import replace

from improve.expert import cost, designs
from improve.expert.reading import Task
from improve.expert.recipe import DataRecipe, ModelRecipe, Recipes, TrainingRecipe
from improve.expert.situation import label_depends_on_direction, natural_photos

FEWEST_EPOCHS, MOST_EPOCHS = 3, 30
PRETRAINED_SIDE = 160  # pixels: pretrained features want fine images, and frozen layers are cheap
FINEST_WITHOUT = 48  # pixels below which pretrained features see too little to begin with
PROBED_RATE, PROBED_EPOCHS = 1e-4, 3  # a classifier that starts as the best linear one has little left to learn
QUICK_SIDE = 64  # pixels that are enough to begin with on a CPU


def first_recipes(task: Task, failed: str = "") -> Recipes:
    """Uses the card's words where they say something (mirroring), and at most about a third of the time limit.

    `failed` is why the last try at a first pipeline has no score: then something smaller and simpler.
    """
    if failed:
        return _simplest(task, failed.lower())
    photos = natural_photos(task)
    pretrained = photos and bool(task.pretrained) and task.side >= FINEST_WITHOUT
    side = task.side if task.gpu or task.side <= (PRETRAINED_SIDE if pretrained else 96) else QUICK_SIDE
    data = DataRecipe(size=0 if side == task.side else side, flip=photos and not label_depends_on_direction(task))
    if pretrained:
        model = ModelRecipe(
            family="pretrained",
            name=best_pretrained(task.pretrained),
            frozen=1.0,
            probe=True,
            views="mirrored" if data.flip else "",
            label_smoothing=0.1,
        )
    else:
        model = designs.plain(side)
    training = TrainingRecipe(
        lr=PROBED_RATE if pretrained else 0.001,
        backbone_lr=0.3 if pretrained else 1.0,
        batch_size=128 if task.train_images >= 20_000 else 64 if task.train_images >= 800 else 32,
        schedule="cosine",
    )
    recipes = Recipes(data, model, training)
    if pretrained:
        return recipes.changed({"epochs": PROBED_EPOCHS})
    epochs = cost.epochs_for(cost.FIRST_SHARE, recipes, task)
    return recipes.changed({"epochs": min(MOST_EPOCHS, max(FEWEST_EPOCHS, epochs))})


def _simplest(task: Task, failed: str) -> Recipes:
    side = min(task.side, 32 if "memory" in failed or "time" in failed else QUICK_SIDE)
    return Recipes(
        DataRecipe(size=0 if side == task.side else side),
        replace(designs.plain(side), widths=(16, 32, 64)),
        TrainingRecipe(lr=3e-4 if "nan" in failed else 1e-3, batch_size=32, epochs=1 if "time" in failed else 3),
    )


def best_pretrained(names: tuple[str, ...]) -> str:
    """The most promising of the weights at hand: the cheapest one that is known, else the first."""
    known = [name for name in names if any(key in name for key in cost.TIMM)]
    return min(known or names[:1], key=lambda name: cost.image_seconds(ModelRecipe("pretrained", name), 224, 3))


def plan(recipes: Recipes, task: Task) -> str:
    """The architect's plan in words, a line for each component."""
    data, model, training = recipes.data, recipes.model, recipes.training
    variations = "mirrored at random" if data.flip else "without augmentation, to see first what overfits"
    network = (
        f"{model.name} with its pretrained weights, frozen, and the best linear classifier on its features"
        if model.family == "pretrained"
        else f"a plain convolutional network, {'-'.join(map(str, model.widths))} channels"
    )
    share = cost.share_used(recipes, task)
    return "\n".join(
        [
            "Plan of the rule-based expert (no language model):",
            f"- data.py: images of {data.size or task.side} pixels, normalised, {variations}.",
            f"- model.py: {network}.",
            f"- training.py: AdamW, learning rate {training.lr:g}, cosine schedule, {training.epochs} epochs of batches"
            f" of {training.batch_size}: about {max(5, round(20 * share) * 5)}% of the time limit on a slow machine, "
            "to learn quickly what helps. The rest of the time is for later steps.",
        ]
    )
