"""Kitchenware (Kaggle, 2022): photos of cups, glasses, plates, spoons, forks and knives.

The files: train.csv (Id, label), images/ (0001.jpg, … of the training and of the test images). The test images have no
labels, so the training images are divided 80/20. Spreadsheets drop leading zeros of the numbers, so they are put back.
"""

from __future__ import annotations

from improve.datasets.competitions import TableCompetition

KITCHENWARE = TableCompetition(
    "kitchenware",
    "kitchenware-classification",
    "Kitchenware Classification",
    column="Id",
    image=lambda number: f"images/{number.zfill(4)}.jpg",
)
key, load = KITCHENWARE.key, KITCHENWARE.load
