"""What a training costs: a rough model of the time for one image, corrected by the log once something was measured.

Times are seconds of one training step for one image (forward and backward) on one thread of a slowish, busy core.
They only have to be right against each other: after the first training, everything is scaled by what the log says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from improve.expert.reading import Log, Task
from improve.expert.recipe import DataRecipe, ModelRecipe, Recipes, changed

# Fitted to measured steps of small convolutional networks in channels-last layout on one core of a server.
SECONDS_PER_MAC = 0.7e-10  # multiply-adds of the forward pass; the backward pass is in it
SECONDS_PER_ACTIVATION = 0.8e-8  # normalisation and ReLU are limited by memory, not by arithmetic
SECONDS_PER_STEP = 0.004  # Lightning and the loader, for each batch
SECONDS_PER_LAYER = 0.0007  # calls and the optimiser, for each batch and layer
GPU_SPEED = 40.0  # a GPU against one such core, for networks of this kind
# Random transforms of single images in torchvision: seconds an image, and for each pixel.
AUTO_SECONDS = (3e-4, 1e-8)
PREPARE_PER_PIXEL = 2e-9  # batched preparation and augmentation

# timm's networks at 224 pixels: multiply-adds and activations of an image, both in millions, published with the models;
# the last number is how much slower than plain convolutions their kind of layer runs on a CPU.
TIMM = {
    "resnet18": (1810.0, 2.5, 1.0),
    "resnet50": (4110.0, 11.1, 1.0),
    "efficientnet_lite0": (390.0, 6.7, 2.5),
    "efficientnet_b0": (390.0, 6.7, 3.0),
    "mobilenetv3_large_100": (220.0, 4.4, 3.0),
    "convnext_atto": (550.0, 3.8, 2.0),
    "convnext_femto": (790.0, 4.6, 2.0),
    "regnetx_002": (200.0, 2.2, 1.5),
    "vit_tiny_patch16_224": (1260.0, 6.0, 1.0),
}
UNKNOWN = (2000.0, 10.0, 2.0)
# Of the limit: what `template/plan.py` fills, and what a recipe is written for. More epochs than fit are left out of
# its plan, schedule and all, so there is no harm in asking for a little too much.
PLANNED_SHARE = 0.98
FULL_SHARE = 0.92
FIRST_SHARE = 0.3
# Of an epoch in which all layers learn: the features of all images, once; and an epoch of a classifier alone on them.
ONCE, HEAD_ALONE = 0.35, 0.002


@dataclass(frozen=True)
class Work:
    """What a network does for one image: multiply-adds and activations of the forward pass, and in how many layers."""

    macs: float
    activations: float
    layers: int

    @property
    def seconds(self) -> float:
        """One training step for one image, without what is due once a batch."""
        return self.macs * SECONDS_PER_MAC + self.activations * SECONDS_PER_ACTIVATION


def image_seconds(model: ModelRecipe, side: int, channels: int) -> float:
    """One training step for one image of `side × side` pixels, without what is due once a batch."""
    return work(model, side, channels).seconds


def work(model: ModelRecipe, side: int, channels: int) -> Work:
    if model.family in ("timm", "pretrained"):
        macs, activations, slowness = next((known for name, known in TIMM.items() if name in model.name), UNKNOWN)
        scale = (side / 224) ** 2 * 1e6
        return Work(scale * macs * slowness, scale * activations, 50)
    return _written_network(model, side, channels)


def _written_network(model: ModelRecipe, side: int, channels: int) -> Work:
    """The networks of `writing_model`."""
    residual = model.family == "residual"
    side = math.ceil(side / model.stem)
    inside = model.widths[0]
    macs = side**2 * channels * _padded(inside) * (16 if model.stem == 4 else 9)
    activations, layers = side**2 * inside, 1
    for stage, width in enumerate(model.widths):
        depth = model.depth(stage) if residual else max(1, model.depth(stage)) - (stage == 0)
        if residual and stage and depth:
            side = math.ceil(side / 2)
        for _ in range(depth):
            convolutions, shortcut = (2, inside != width) if residual else (1, False)
            inputs, outputs = _padded(inside), _padded(width)
            macs += side**2 * outputs * (9 * inputs + 9 * outputs * (convolutions - 1) + inputs * shortcut)
            activations += side**2 * width * (convolutions + shortcut + residual)
            layers += convolutions + shortcut
            inside = width
        if not residual:
            side = max(1, side // 2)
    return Work(float(macs), float(activations), layers)


def _padded(width: int) -> int:
    """Vector units work on 16 channels at a time: fewer cost as much."""
    return math.ceil(width / 16) * 16


def epoch_seconds(recipes: Recipes, task: Task) -> float:
    """Estimated seconds of one epoch, frozen epochs aside."""
    side = recipes.data.size or task.side
    speed = GPU_SPEED if task.gpu else min(task.threads, 4) ** 0.7
    prepare = side**2 * task.channels * PREPARE_PER_PIXEL
    if recipes.data.auto:
        prepare += AUTO_SECONDS[0] + side**2 * task.channels * AUTO_SECONDS[1]
    network = work(recipes.model, side, task.channels)
    steps = math.ceil(task.train_images / recipes.training.batch_size)
    each_step = SECONDS_PER_STEP + network.layers * SECONDS_PER_LAYER
    return task.train_images * (network.seconds / speed + prepare) + steps * each_step


def training_seconds(recipes: Recipes, task: Task) -> float:
    """Estimated seconds of the whole training; an epoch with a frozen backbone needs its forward pass alone."""
    epochs = recipes.training.epochs
    model = recipes.model
    # A tenth of the images is kept for validation: a forward pass for each view.
    validation = 0.1 * 0.33 * {"shifted": 4, "mirrored": 2}.get(model.views, 1) * epochs
    learning: float = epochs
    if model.family == "pretrained":
        if computed_once(recipes):
            # One forward pass over all images, and then what is behind the frozen layers.
            return epoch_seconds(recipes, task) * (ONCE + epochs * max(HEAD_ALONE, 0.8 * (1 - model.frozen) ** 2))
        head_only = epochs * model.thaw
        learning = (epochs - head_only) * _learning_share(model.frozen) + head_only * _learning_share(1.0)
    return epoch_seconds(recipes, task) * (learning + validation)


def computed_once(recipes: Recipes) -> bool:
    """Whether a pretrained network's frozen layers are computed once: images come unchanged or mirrored to them."""
    plain = DataRecipe(size=recipes.data.size, flip=recipes.data.flip, balanced=recipes.data.balanced)
    model = recipes.model
    reached = model.frozen == 1 or not model.levels  # of earlier stages' outputs, more would have to be kept
    return model.frozen > 0 and reached and not model.thaw and recipes.data == plain


def _learning_share(frozen: float) -> float:
    """Cost of a step when this share of the layers, from the input on, needs no backward pass; early ones cost most."""
    return 0.2 + 0.8 * (1 - frozen) ** 2


def share_used(recipes: Recipes, task: Task, slower: float = 1.0) -> float:
    """Share of the time limit that a training would take, where trainings are `slower` than estimated here."""
    return training_seconds(recipes, task) / task.fit_seconds * slower


def measured_slowness(log: Log, task: Task, present: Recipes) -> float:
    """How much slower than estimated the logged training of `present` was; 1.0 where the log says nothing."""
    done = changed(present.training, {"epochs": log.epochs}) if log.epochs else present.training
    expected = share_used(Recipes(present.data, present.model, done), task)
    measured = [log.time_used] if log.time_used else []
    if log.fitting and log.epochs and not present.model.thaw and not computed_once(present):
        # The epochs that fit were computed for nearly all of the limit, from steps that were tried out.
        # Not so where features come first: of what they take, these epochs know nothing.
        measured.append(PLANNED_SHARE * log.epochs / log.fitting)
    if not measured or expected <= 0:
        return 1.0
    return math.prod(measured) ** (1 / len(measured)) / expected


def epochs_for(share: float, recipes: Recipes, task: Task, slower: float = 1.0) -> int:
    """How many epochs of `recipes` take this share of the limit; at least 1."""

    def used(epochs: int) -> float:
        longer = changed(recipes.training, {"epochs": epochs})
        return share_used(Recipes(recipes.data, recipes.model, longer), task, slower)

    first, many = used(1), used(1001)
    # Linear beyond the epochs in which only the head learns.
    each = max((many - first) / 1000, 1e-9)
    return max(1, min(2000, int(1 + (share - first) / each)))


def side_of(data: DataRecipe, task: Task) -> int:
    """Side in pixels of the images that the network sees."""
    return data.size or task.side
