"""Made trainings whose luck is known: pipelines of a true accuracy, trained again and again on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri


def trainings(
    skills: Sequence[float],
    counts: Sequence[int],
    images: int = 500,
    seed: int = 0,
    luck: float = 0.08,
    churn: float = 1.0,
    difference: float = 0.3,
) -> tuple[NDArray[np.bool_], list[list[int]]]:
    """Right or wrong, trainings × images, and the rows of each pipeline.

    An image is right where skill less difficulty, both in standard deviations, is above 0. `luck` moves all images of a
    training, `churn` each of its answers, `difference` an image for all trainings of one pipeline.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1.5, images)
    width = (1.5**2 + churn**2 + difference**2 + luck**2) ** 0.5
    right, rows = [], []
    for skill, count in zip(skills, counts, strict=True):
        own = width * ndtri(skill) - difficulty + rng.normal(0, difference, images)
        rows.append(list(range(len(right), len(right) + count)))
        right += [own + rng.normal(0, luck) + rng.normal(0, churn, images) > 0 for _ in range(count)]
    return np.array(right), rows
