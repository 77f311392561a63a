"""Which pipelines the bank has: for each data set a grid over options of the three components.

The options are techniques of the rule-based expert. Of each component there are: a plain one, a usual improvement, that
improvement with a tweak that may or may not matter (a near tie), and a gamble that may well harm. Which of several it
is was drawn by a fixed generator. A grid is closed under changes of one component, so that any strategy that changes
one component at a time, or all of them, can be simulated by drawing trainings from it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COMPONENTS = ("data", "model", "training")
Settings = Mapping[str, Any]
GRID_SEED = 44  # the first with which the tweaks and gambles of no two of the larger data sets are the same


@dataclass(frozen=True)
class Job:
    """One training. `kind`: `replicate`, or `refit`, which learns from all images of train and selection."""

    dataset: str
    recipe: str
    seed: int
    kind: str = "replicate"

    @property
    def key(self) -> tuple[str, str, int]:
        return self.kind, self.recipe, self.seed


@dataclass(frozen=True)
class Pool:
    """What the options of one component are drawn from.

    A usual improvement and a gamble change settings of the plain option, a tweak those of the improvement.
    """

    plain: Settings
    usual: Sequence[Settings]
    tweaks: Sequence[Settings] = ()
    gambles: Sequence[Settings] = ()

    def draw(self, random: random.Random) -> list[dict[str, Any]]:
        usual = {**self.plain, **random.choice(self.usual)}
        tweaked = [{**usual, **random.choice(self.tweaks)}] if self.tweaks else []
        gamble = [{**self.plain, **random.choice(self.gambles)}] if self.gambles else []
        return [dict(self.plain), usual, *tweaked, *gamble]


@dataclass(frozen=True)
class Task:
    """A data set, how long each of its trainings is, and the pools of its components.

    `settings` are those of `improve.config.DatasetConfig`; `files` is the path, below the folder of raw images, of what
    the source reads ("": it reads nothing). Every training has `epochs` epochs in batches of `batch_size`.
    """

    name: str
    settings: Settings
    files: str
    epochs: int
    batch_size: int
    pools: Mapping[str, Pool]
    many: tuple[str, ...]  # the recipes that get many seeds: of low, middle and high accuracy

    def options(self) -> dict[str, list[dict[str, Any]]]:
        """The settings of each option of each component, drawn by a fixed generator."""
        found = {name: self.pools[name].draw(random.Random(f"{GRID_SEED} {self.name} {name}")) for name in COMPONENTS}
        for option in found["training"]:
            option.update(epochs=self.epochs, batch_size=self.batch_size)
        return found


SPLIT_SEED = 13  # not 0: the labels of what a usual run selects and tests on are not published
NETWORK = {"family": "plain", "stem": 2, "widths": [16, 32, 64], "blocks": [1]}
RESIDUAL = {"family": "residual", "stem": 2, "widths": [16, 32, 64], "blocks": [1]}
COARSE = {"family": "residual", "stem": 4, "widths": [32, 64], "blocks": [1]}


def networks(usual: Settings) -> Pool:
    """A plain network, a residual one that is better or only faster, and variants."""
    return Pool(
        NETWORK,
        usual=[usual],
        tweaks=[{"label_smoothing": 0.1}, {"dropout": 0.2}, {"views": "shifted"}, {"drop_path": 0.1}],
        gambles=[{"widths": [8, 16, 32]}, {"widths": [16, 32]}, {"stem": 4}, {"dropout": 0.5}],
    )


TRAINING = Pool(
    {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.01, "schedule": "cosine"},
    usual=[{"schedule": "onecycle", "lr": 0.015, "warmup": 0.25}, {"schedule": "onecycle", "lr": 0.0075}],
    tweaks=[{"weight_decay": 0.05}, {"ema": 0.98}, {"clip": 1.0}, {"warmup": 0.4}, {"weight_decay": 0.0025}],
    gambles=[
        {"schedule": "constant", "lr": 0.0003},
        {"schedule": "constant", "lr": 0.015},
        {"optimizer": "sgd", "lr": 0.02, "weight_decay": 5e-4},
    ],
)
LITE = {"family": "pretrained", "name": "tf_efficientnet_lite0"}

TASKS: tuple[Task, ...] = (
    Task(
        "dsprites",
        {
            "name": "dsprites", "source": "dsprites", "image_size": 32, "channels": 1, "train": 8000,
            "selection": 2000, "test": 2000, "accept": ["near_leakage"], "split_seed": SPLIT_SEED,
        },
        "", 5, 128,
        {
            "data": Pool(
                {},
                usual=[{"shift": 3}, {"shift": 2}],
                tweaks=[{"zoom": 0.1}, {"erase": 0.25}, {"mixup": 0.2}],
                gambles=[{"flip": True}, {"degrees": 15.0}],
            ),
            "model": networks(RESIDUAL),
            "training": TRAINING,
        },
        ("002", "012", "122"),
    ),
    Task(
        "fashion",
        {
            "name": "fashion", "source": "fashion_mnist", "train": 4000, "selection": 2000, "test": 2000,
            "split_seed": SPLIT_SEED,
        },
        ".", 4, 64,
        {
            "data": Pool(
                {},
                usual=[{"flip": True}, {"flip": True, "shift": 1}],
                tweaks=[{"zoom": 0.1}, {"erase": 0.25}, {"mixup": 0.2}],
                gambles=[{"shift": 8}, {"size": 14}, {"degrees": 45.0}],
            ),
            "model": networks(COARSE),
            "training": TRAINING,
        },
        ("103", "102", "011"),
    ),
    Task(
        "cifar10",
        {
            "name": "cifar10", "source": "folder", "image_size": 32, "channels": 3, "train": 5000, "selection": 2000,
            "test": 2000, "split_seed": SPLIT_SEED,
        },
        "cifar10", 4, 64,
        {
            "data": Pool(
                {},
                usual=[{"flip": True}, {"flip": True, "shift": 3}],
                tweaks=[{"color": 0.2}, {"erase": 0.25}, {"zoom": 0.1}],
                gambles=[{"shift": 10}, {"size": 16}, {"cutmix": 1.0}],
            ),
            "model": networks(COARSE),
            "training": TRAINING,
        },
        ("100", "103", "101"),
    ),
    Task(
        "photos",
        {
            "name": "photos", "source": "folder", "image_size": 64, "channels": 3, "train": 1000, "selection": 400,
            "test": 500, "split_seed": SPLIT_SEED,
        },
        "flowers5-128", 3, 32,
        {
            "data": Pool({}, usual=[{"flip": True}]),
            "model": Pool({**LITE, "frozen": 1.0}, usual=[{"frozen": 0.8}]),
            "training": Pool(
                {"lr": 0.002, "backbone_lr": 0.3, "weight_decay": 0.01, "schedule": "cosine"},
                usual=[{"schedule": "onecycle", "lr": 0.005}],
                tweaks=[{"weight_decay": 0.05}, {"schedule": "constant", "lr": 0.02}, {"ema": 0.9}],
            ),
        },
        ("000", "010", "111"),
    ),
)  # fmt: skip


def recipes(task: Task) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Each pipeline of a grid: its id, three digits that are the options' numbers in data, model and training."""
    options = task.options()
    for cell in itertools.product(*(range(len(options[name])) for name in COMPONENTS)):
        yield "".join(map(str, cell)), {n: options[n][choice] for n, choice in zip(COMPONENTS, cell, strict=True)}
