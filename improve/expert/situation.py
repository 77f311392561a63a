"""What the evidence says about a task and its incumbent: the diagnosis that ideas are judged by."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cached_property

from improve.expert import cost
from improve.expert.reading import Facts, Step, Task
from improve.expert.recipe import Recipes

# Words of a description that tell a person whether a mirrored image is still one of the same class.
DIRECTED = re.compile(
    r"orientation|rotat|direction|angle|heading|pose\b|azimuth|\bleft\b|\bright\b|digit|letter|charact|alphabet|text\b"
    r"|number|numeral|handwrit|glyph|font|script|kanji|symbol|sign\b|signs\b|arrow|gesture|chiral",
    re.IGNORECASE,
)
TURNING = re.compile(r"orientation|rotat|direction|angle|heading|azimuth|compass|arrow|clock", re.IGNORECASE)
PHOTOS = re.compile(r"photo|camera|picture|animal|plant|flower|leaf|leaves|food|vehicle|object|scene", re.IGNORECASE)


def label_depends_on_direction(task: Task) -> bool:
    """Whether the words about the images suggest that mirroring changes the label."""
    names = " ".join(task.classes)
    single = bool(task.classes) and all(len(name.strip()) == 1 for name in task.classes)
    return bool(single or DIRECTED.search(task.description) or re.search(r"\bleft|\bright|\d ?deg", names, re.I))


def label_depends_on_turning(task: Task) -> bool:
    """Whether already a small turn of the image may change the label."""
    return bool(TURNING.search(task.description) or re.search(r"\d ?deg", " ".join(task.classes), re.I))


def natural_photos(task: Task) -> bool:
    """Whether the images look like photos of the world: what pretrained networks have learnt from."""
    if task.channels < 3:
        return False
    # Colour images without a word but the dataset's name: most people's are photos.
    undescribed = len(task.description.split()) <= 1 and not label_depends_on_direction(task)
    return task.side >= 48 or undescribed or bool(PHOTOS.search(task.description))


@dataclass(frozen=True)
class Situation:
    """The facts of a prompt together with the recipes of the present components (assumed where they carry none)."""

    facts: Facts
    recipes: Recipes

    @property
    def task(self) -> Task:
        return self.facts.task

    @cached_property
    def scored(self) -> list[Step]:
        return [step for step in self.facts.history if step.accepted]

    @cached_property
    def accuracy(self) -> float:
        """Of the incumbent on hidden labels; else what its own log says; 0.5 where nothing is known."""
        known = [step.accuracy for step in self.scored if step.accuracy is not None]
        value = known[-1] if known else self.validation
        return min(1.0, max(0.0, 0.5 if value is None else value))

    @property
    def error(self) -> float:
        return max(0.002, 1 - self.accuracy)

    @cached_property
    def train(self) -> float | None:
        """Training accuracy of the last epoch."""
        values = self.facts.log.series("train_accuracy")
        return values[-1] if values else None

    @cached_property
    def validation(self) -> float | None:
        values = self.facts.log.series("validation_accuracy")
        return max(values) if values else None

    @cached_property
    def gap(self) -> float | None:
        """By how much it knows the training images better than new ones. Augmentation makes it smaller or negative."""
        return None if self.train is None else self.train - self.accuracy

    @property
    def overfits(self) -> bool:
        # Most of what is wrong on new images is right on the training images.
        return self.gap is not None and self.gap > max(0.01, 0.5 * self.error)

    @property
    def underfits(self) -> bool:
        return self.train is not None and not self.overfits and self.train < 0.95

    @cached_property
    def rising(self) -> bool:
        """Whether the validation accuracy was still growing when the training ended."""
        values = self.facts.log.series("validation_accuracy")
        if len(values) < 3:
            return True
        return values[-1] - values[-1 - max(1, len(values) // 4)] > 0.01

    @cached_property
    def unstable(self) -> bool:
        """Whether the training loss went up by much after the first quarter."""
        losses = self.facts.log.series("train_loss")
        later = losses[max(1, len(losses) // 4) :]
        return any(b > 1.25 * a and b - a > 0.05 for a, b in itertools.pairwise(later))

    @property
    def cut_short(self) -> bool:
        log = self.facts.log
        return 0 < log.epochs < log.planned

    @cached_property
    def caution(self) -> float:
        """How much of the usual share of the time limit to plan for: less after every training that ran out of it."""
        hard = sum(step.failed and _exhausted(step.reason) for step in self.facts.history)
        return float(0.7 ** min(4, hard)) * (0.85 if self.cut_short else 1.0)

    def share(self, recipes: Recipes) -> float:
        """Share of the time limit that a pipeline would take."""
        return cost.share_used(recipes, self.task, self.slower)

    @cached_property
    def slower(self) -> float:
        """How much slower than estimated trainings are on this machine."""
        return cost.measured_slowness(self.facts.log, self.task, self.recipes)

    @cached_property
    def used(self) -> float:
        return max(0.005, self.share(self.recipes))

    @property
    def full(self) -> float:
        """The largest share of the time limit to plan for."""
        return cost.FULL_SHARE * self.caution

    def epochs_for(self, share: float, recipes: Recipes) -> int:
        return cost.epochs_for(share, recipes, self.task, self.slower)

    def fits(self, recipes: Recipes) -> bool:
        """Whether a pipeline stays near the planned share, or at least takes no more time than the incumbent."""
        return self.share(recipes) <= max(1.12 * self.full, 1.03 * self.used)

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        training = self.recipes.training
        return max(1, self.task.train_images // training.batch_size) * training.epochs

    @cached_property
    def last_accepted(self) -> int:
        """The iteration that the incumbent is of; -1 where nothing was accepted."""
        return self.scored[-1].iteration if self.scored else -1


def _exhausted(reason: str) -> bool:
    return any(word in reason.lower() for word in ("time", "memory", "killed"))
