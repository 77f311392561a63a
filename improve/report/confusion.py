"""The confusion matrix of the test images, as a heat map and as the sentences that matter most in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from improve.display.text import one_line
from improve.report.charts import Tick

DRAWN_CLASSES = 120  # with more, a picture of the matrix tells nobody anything
NUMBERED_CLASSES = 12  # up to so many, each cell shows its count
MIXUPS = 10
LABEL_LENGTH = 14


@dataclass(frozen=True)
class Cell:
    """A non-zero cell; `share` is of the images of its true class, in (0, 1]."""

    x: float
    y: float
    count: int
    share: float
    right: bool
    title: str


@dataclass(frozen=True)
class Mixup:
    """`count` images of class `true`, a `share` of them, were taken for `predicted`."""

    true: str
    predicted: str
    count: int
    share: float


def confusion(matrix: list[list[int]], names: list[str]) -> dict[str, Any]:
    """The heat map in SVG units and the most frequent confusions, for the template.

    `matrix`: rows are true classes, columns predicted ones. It is not `drawn` where it has too many classes.
    """
    labels = [one_line(name, LABEL_LENGTH) for name in names]
    numbered, drawn = len(matrix) <= NUMBERED_CLASSES, len(matrix) <= DRAWN_CLASSES
    cell = 40.0 if numbered else max(9.0, 18.0 - len(matrix) / 10)
    margin = 16.0 + 6.4 * max(map(len, labels), default=0)
    return {
        "size": margin + cell * len(matrix) + 2,
        "margin": margin,
        "cell": cell,
        "numbered": numbered,
        "cells": _cells(matrix, names, margin, cell) if drawn else [],
        "labels": [Tick(round(margin + cell * (i + 0.5), 1), text) for i, text in enumerate(labels)],
        "drawn": drawn,
        "mixups": _mixups(matrix, names),
    }


def _cells(matrix: list[list[int]], names: list[str], margin: float, cell: float) -> list[Cell]:
    cells = []
    for i, row in enumerate(matrix):
        for j, count in enumerate(row):
            if count:
                taken = "recognised" if i == j else f"taken for {one_line(names[j], 60)}"
                title = f"{one_line(names[i], 60)}: {count} of {sum(row)} {taken}"
                x, y = round(margin + cell * j, 1), round(margin + cell * i, 1)
                cells.append(Cell(x, y, count, count / sum(row), i == j, title))
    return cells


def _mixups(matrix: list[list[int]], names: list[str]) -> list[Mixup]:
    found = [
        Mixup(one_line(names[i], 60), one_line(names[j], 60), count, count / sum(row))
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda mixup: -mixup.count)[:MIXUPS]
