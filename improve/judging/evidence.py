"""What trainings say of the difference between two pipelines: its size, and how far luck may have moved it.

Two things move it. The *training's luck* (initial weights, order of the images) moves the accuracy from one training
seed to the next; and the images are a sample, on which one pipeline may do better than on others. More trainings make
the first smaller, only more images the second. Everything here follows from one table: how many images each training
gets right, and each two of them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]  # trainings × images: which answers are right
Rows = Sequence[int]  # the trainings of one pipeline, as rows of a tally


@dataclass(frozen=True)
class Tally:
    """`both[a, b]`: how many of the `images` trainings a and b both get right; on the diagonal, those that a does."""

    both: NDArray[np.int64]
    images: int

    @classmethod
    def of(cls, right: Right) -> Tally:
        """From answers, one row a training. Raises `ValueError` without images."""
        if right.ndim != 2 or not right.shape[1]:
            raise ValueError(f"trainings × images are needed, not an array {right.shape}")
        whole = right.astype(np.float64)  # exact below 2^53, and its product is fast
        return cls(np.rint(whole @ whole.T).astype(np.int64), right.shape[1])

    def accuracies(self, rows: Rows) -> NDArray[np.float64]:
        """The accuracy of each training, as fractions."""
        return self.both[rows, rows] / self.images

    def mean(self, rows: Rows) -> float:
        return float(self.accuracies(rows).mean())

    def churn(self, rows: Rows) -> float:
        """The share of images that exactly one of two trainings gets right, mean over all pairs of `rows`."""
        count = len(rows)
        inside = self.both[np.ix_(rows, rows)]
        right = np.trace(inside)
        return float((count * right - inside.sum()) / (count * (count - 1) / 2) / self.images)

    def won(self, ours: Rows, theirs: Rows) -> float:
        """The images that only a training of ours gets right, mean over all pairs of one of ours with one of theirs."""
        return float((self.both[ours, ours][:, None] - self.both[np.ix_(ours, theirs)]).mean())

    def spread(self, parts: Sequence[Part]) -> float:
        """The variance over images of the sum of the pipelines' mean answers, each times its factor."""
        rows = np.concatenate([np.asarray(part.rows) for part in parts])
        weights = np.concatenate([np.full(len(part.rows), part.factor / len(part.rows)) for part in parts])
        inside = self.both[np.ix_(rows, rows)] / self.images
        return float(max(0.0, weights @ inside @ weights - (weights @ np.diag(inside)) ** 2))


@dataclass(frozen=True)
class Part:
    """A pipeline's part in a contrast: its trainings, and the factor of their mean accuracy."""

    factor: float
    rows: Rows


@dataclass(frozen=True)
class Shown:
    """What repeated trainings show of luck, as sums over pipelines that can be added.

    All are relative to p(1 − p) of each pipeline's accuracy p, so that pipelines of different accuracy can be pooled:
    `squares` of the trainings' deviations from their pipeline's mean, their degrees of `freedom`, and `churn`, for each
    degree of freedom half the share of images that one of two trainings gets right and the other wrong.
    """

    squares: float = 0.0
    freedom: int = 0
    churn: float = 0.0

    def __add__(self, other: Shown) -> Shown:
        return Shown(self.squares + other.squares, self.freedom + other.freedom, self.churn + other.churn)


def shown(tally: Tally, rows: Rows) -> Shown:
    """What the trainings of one pipeline show; nothing if there is only one."""
    freedom = len(rows) - 1
    if freedom < 1:
        return Shown()
    found = tally.accuracies(rows)
    mean = float(found.mean())
    binomial = _binomial(mean, tally.images)
    return Shown(float(((found - mean) ** 2).sum()) / binomial, freedom, freedom * tally.churn(rows) / 2 / binomial)


def _binomial(accuracy: float, images: int) -> float:
    return max(accuracy * (1 - accuracy), 1 / images)


@dataclass(frozen=True)
class Prior:
    """What is known of training luck before a run shows its own.

    The variance of a training's accuracy p over seeds is p(1 − p)(`churn` / images + `seed`²); `churn` is the share of
    an answer's variance that is luck rather than the image's difficulty. Pipelines differ in their luck: this is worth
    `freedom` degrees of freedom of a pipeline's own trainings, and `weight` of those that other pipelines show.
    """

    churn: float
    seed: float
    freedom: float
    weight: float


@dataclass(frozen=True)
class Luck:
    """What is to be expected of a pipeline's luck: the variance of a training's accuracy, and that of one answer.

    Both are relative to p(1 − p). `freedom`: how many degrees of freedom of its own trainings this is worth.
    """

    variance: float
    churn: float
    freedom: float

    def of(self, own: Shown) -> tuple[float, float]:
        """The variance of a pipeline's luck, moderated by what its own trainings show, and its degrees of freedom.

        As Smyth (2004) moderates the variances of many small samples.
        """
        freedom = self.freedom + own.freedom
        return (self.freedom * self.variance + own.squares) / freedom, freedom


def luck(others: Shown, images: int, prior: Prior) -> Luck:
    """What was known before, and what other pipelines have shown since."""
    weight = prior.weight + others.freedom
    variance = prior.churn / images + prior.seed**2
    return Luck(
        (prior.weight * variance + others.squares) / weight,
        (prior.weight * prior.churn + others.churn) / weight,
        prior.freedom,
    )


@dataclass(frozen=True)
class Estimate:
    """A difference of accuracies with its standard error over trainings and images."""

    effect: float
    error: float
    freedom: float

    def above(self, least: float = 0.0) -> float:
        """The one-sided p-value against a true difference of at most `least`."""
        from scipy.special import stdtr  # late, as in scoring.wilson

        if not self.error:
            return float(self.effect <= least)
        return float(stdtr(self.freedom, -(self.effect - least) / self.error))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The two-sided interval of the true difference."""
        from scipy.special import stdtrit

        reach = float(stdtrit(self.freedom, 0.5 + confidence / 2)) * self.error
        return self.effect - reach, self.effect + reach


def contrast(tally: Tally, parts: Sequence[Part], expected: Luck) -> Estimate:
    """A sum of pipelines' mean accuracies, each times its factor; the factors sum to 0.

    The variance over images of the mean answers holds two things: how the pipelines differ from image to image, which
    more trainings do not change, and the luck of each single answer, which is already in the trainings' luck. The
    degrees of freedom are those of the pipeline that is known least.
    """
    effect = trained = churn = 0.0
    freedom = math.inf
    for part in parts:
        mean, own = tally.mean(part.rows), shown(tally, part.rows)
        scale = part.factor**2 / len(part.rows) * _binomial(mean, tally.images)
        variance, known = expected.of(own)
        effect += part.factor * mean
        trained += scale * variance
        churn += scale * (expected.freedom * expected.churn + own.churn) / known
        freedom = min(freedom, known)
    images = max(0.0, tally.spread(parts) - churn) / tally.images
    return Estimate(effect, (trained + images) ** 0.5, freedom)


def difference(tally: Tally, ours: Rows, theirs: Rows, expected: Luck) -> Estimate:
    """Our mean accuracy less theirs."""
    return contrast(tally, [Part(1, ours), Part(-1, theirs)], expected)
