"""4 Animal Classification (Kaggle, 2022): 2,800 labelled photos of cats, deer, dogs and horses.

The files: train/ with a folder for each class, test/ without labels. So the labelled images are divided 80/20.
"""

from __future__ import annotations

from improve.datasets.competitions import FolderCompetition

SIGNS = ("train/train", "train")
ANIMALS = FolderCompetition("animals4", "4-animal-classification", "4 Animal Classification", SIGNS)
key, load = ANIMALS.key, ANIMALS.load
