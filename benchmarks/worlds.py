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


def load(name: str, way: str = "best", folder: Path = HERE) -> World:
    """A data set of the bank; `way`: which weights of a training were kept."""
    bank = trainings(name, way, folder=folder)
    cells = [tuple(map(int, recipe)) for recipe in bank.frame["recipe"]]
    return World.of(name, list(zip(cells, bank.selection, bank.test, strict=True)))
