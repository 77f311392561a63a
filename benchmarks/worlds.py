"""Worlds to try verdict rules in: real trainings of the bank, drawn again and again.

A pipeline *is* the set of its trainings in the bank: to train it is to draw one of them, with replacement. So its true
accuracy is known exactly, as the mean over all of them, on images that no rule has seen (the bank's test split). With
few seeds in the bank the world's luck is smaller than the real one, by a factor √(2/3) with three of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bank.load import HERE
from benchmarks.bank.load import load as trainings
from improve.judging.evidence import Tally

Training = tuple[tuple[int, ...], NDArray[np.bool_], NDArray[np.bool_]]  # cell; right on selection, on test


@dataclass(frozen=True)
class World:
    """All pipelines of one data set. `cells[p]`: the options of pipeline p's components; `rows[p]`: its trainings.

    `selection` and `test` are trainings × images: right or wrong.
    """

    name: str
    cells: Sequence[tuple[int, ...]]
    rows: Sequence[NDArray[np.int64]]
    selection: NDArray[np.bool_]
    test: NDArray[np.bool_]
    tally: Tally
    truth: NDArray[np.float64]  # of each pipeline, on the test images
    shown: NDArray[np.float64]  # … on the selection images

    @classmethod
    def of(cls, name: str, trainings: Sequence[tuple[tuple[int, ...], NDArray[np.bool_], NDArray[np.bool_]]]) -> World:
        """From trainings: their pipeline's cell, and right or wrong on selection and test."""
        places: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, (cell, *_) in enumerate(trainings):
            places[cell].append(number)
        cells = sorted(places)
        rows = [np.array(places[cell]) for cell in cells]
        selection, test = (np.array([training[part] for training in trainings]) for part in (1, 2))
        return cls(
            name,
            cells,
            rows,
            selection,
            test,
            Tally.of(selection),
            np.array([test[own].mean() for own in rows]),
            np.array([selection[own].mean() for own in rows]),
        )

    def both(self, pipeline: int) -> float:
        """The true accuracy of a pipeline on all images of selection and test."""
        return float(self.truth[pipeline] + self.shown[pipeline]) / 2

    def with_seeds(self, least: int) -> list[int]:
        """The pipelines that have at least so many trainings."""
        return [number for number, own in enumerate(self.rows) if len(own) >= least]


def load(name: str, way: str = "best", folder: Path = HERE, transplanted: bool = False) -> World:
    """A data set of the bank; `way`: which weights of a training were kept.

    `transplanted`: pipelines with fewer than `MANY` trainings get the luck of one with so many, of the same data set.
    """
    bank = trainings(name, way, folder=folder)
    cells = [tuple(map(int, recipe)) for recipe in bank.frame["recipe"]]
    found = list(zip(cells, bank.selection, bank.test, strict=True))
    return World.of(name, _transplanted(found) if transplanted else found)


MANY = 5  # trainings


def _transplanted(real: Sequence[Training]) -> list[Training]:
    """Each training of a pipeline with few, changed as a donor's trainings differ from one of the donor's.

    Where the training agrees with that one on an image, it changes with it. The donor is drawn at random. So accuracies
    of different seeds spread, and answers change, as they do in real trainings; how pipelines differ stays real.
    """
    groups: dict[tuple[int, ...], list[Training]] = defaultdict(list)
    for training in real:
        groups[training[0]].append(training)
    donors = [group for group in groups.values() if len(group) >= MANY]
    made: list[Training] = []
    for number, (cell, group) in enumerate(sorted(groups.items(), key=lambda item: item[0])):
        if len(group) >= MANY or not donors:
            made += group
            continue
        rng = np.random.default_rng([number, 16])
        donor = donors[rng.integers(len(donors))]
        base, reference = group[0], donor[rng.integers(len(donor))]
        for other in donor:
            bits = [np.where(base[k] == reference[k], other[k], base[k]) for k in (1, 2)]
            made.append((cell, bits[0], bits[1]))
    return made
