"""Does something beside the picture tell its class: the size of its file's image, its format, its name?

The test: the classes of one half of the images, by each value of the property ("640 × 480": cat), predict the other
half; a value that the first half lacks counts as its commonest class. The halves are drawn by the images' own hashes. A
property that says nothing is right as often as always answering the commonest class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Value = TypeVar("Value", bound=Hashable)

LEAST_IMAGES = 40  # of fewer nothing is said
DEVIATIONS = 5.0  # standard deviations above chance, from which a prediction is no luck
CLEAR = 0.1  # share of the images by which it must beat chance, too


@dataclass(frozen=True)
class Telling:
    """How often a property's value alone tells the class of images it was not learnt from, and how often chance does.

    `example`: the value that tells most images.
    """

    name: str
    accuracy: float
    chance: float
    example: str

    @property
    def clear(self) -> bool:
        return self.accuracy - self.chance >= CLEAR


def telling(name: str, values: Sequence[Value], labels: np.ndarray, digests: Sequence[bytes]) -> Telling | None:
    """What the property tells of the classes, or None if that is no more than chance may give."""
    if len(labels) < LEAST_IMAGES or len(set(values)) < 2:
        return None
    halves = np.array([digest[0] & 1 for digest in digests], dtype=bool)
    if halves.all() or not halves.any():
        return None
    learnt: dict[Value, Counter[int]] = {}
    for row in np.flatnonzero(halves).tolist():
        learnt.setdefault(values[row], Counter())[int(labels[row])] += 1
    commonest = _most(Counter(labels[halves].tolist()))
    rule = {value: _most(counts) for value, counts in learnt.items()}
    asked = np.flatnonzero(~halves).tolist()
    right = [row for row in asked if rule.get(values[row], commonest) == labels[row]]
    chance = float(np.mean(labels[asked] == commonest))
    accuracy = len(right) / len(asked)
    deviation = np.sqrt(max(chance * (1 - chance), 1e-4) / len(asked))
    if not right or accuracy <= chance + DEVIATIONS * deviation:
        return None
    example = _most(Counter(values[row] for row in right))
    return Telling(name, accuracy, chance, str(example))


def _most(counts: Counter[Value]) -> Value:
    """The commonest; of several the first as text, so that the order of the images has no influence."""
    most = max(counts.values())
    return min((value for value, count in counts.items() if count == most), key=str)
