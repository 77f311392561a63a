"""The answer to a zero-shot prompt: a whole pipeline of usual parts and numbers, drawn at random, unseen and untuned.

A language model that is asked once answers each time with another of the recipes that people publish. The rule-based
expert stands in for it with draws from such choices; it knows the machine's limits, as the prompt does, and no dataset
card. The draws are a function of the seed of the request alone.
"""

from __future__ import annotations

import random

from improve.expert import cost, designs
from improve.expert.first import best_pretrained
from improve.expert.reading import Task
from improve.expert.recipe import DataRecipe, ModelRecipe, Recipes, TrainingRecipe

FEWEST_SIDE, MOST_SIDE = 32, 96  # pixels: images are resized to at most this on a CPU
EPOCHS = (3, 5, 10, 15, 20, 30)
SHARES = (0.2, 0.35, 0.5)  # of the time limit that a training takes at most


def zero_shot_recipes(task: Task, seed: int) -> Recipes:
    """Another pipeline for every seed, the same one for the same seed and task."""
    chance = random.Random(f"{seed} zero-shot")
    side = task.side if task.gpu else min(task.side, MOST_SIDE)
    data = DataRecipe(
        size=0 if side == task.side else side,
        shift=chance.choice((0, 0, max(1, side // 16))),
        # Unlike the expert's own first pipeline: without the description, mirroring is a habit.
        flip=chance.random() < 0.4,
        degrees=chance.choice((0.0, 0.0, 10.0)),
    )
    model = _network(task, side, chance)
    training = TrainingRecipe(
        optimizer=chance.choice(("adamw", "adamw", "sgd")),
        batch_size=chance.choice((32, 64, 128)),
        schedule=chance.choice(("constant", "cosine", "onecycle")),
        weight_decay=chance.choice((0.0, 1e-4, 0.01)),
    )
    rates = (0.01, 0.05, 0.1) if training.optimizer == "sgd" else (3e-4, 1e-3, 3e-3)
    recipes = Recipes(data, model, training).changed({"lr": chance.choice(rates)})
    wanted, most = chance.choice(EPOCHS), cost.epochs_for(chance.choice(SHARES), recipes, task)
    return recipes.changed({"epochs": min(wanted, most)})


def _network(task: Task, side: int, chance: random.Random) -> ModelRecipe:
    if task.pretrained and task.channels >= 3 and side >= FEWEST_SIDE and chance.random() < 0.5:
        return ModelRecipe(family="pretrained", name=best_pretrained(task.pretrained), frozen=chance.choice((0.0, 1.0)))
    if chance.random() < 0.4:
        seconds = task.fit_seconds * chance.choice(SHARES) / (8 * max(1, task.train_images))
        return designs.residual(side, task.channels, seconds)
    plain = designs.plain(side)
    widths = chance.choice(((16, 32), (32, 64), (16, 32, 64), plain.widths, (64, 128, 256)))
    return ModelRecipe(family="plain", stem=plain.stem, widths=widths, dropout=chance.choice((0.0, 0.25, 0.5)))
