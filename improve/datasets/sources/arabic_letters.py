"""Arabic Letters (Kaggle, 2023): handwritten letters in 65 forms (isolated, initial, medial, final), by 82 writers.

The files: Final_Arabic_Alpha_dataset/Final_Arabic_Alpha_dataset/train/ with a folder for each class, and test/ without
labels. So the labelled images are divided 80/20, as in the paper, whoever wrote them.
"""

from __future__ import annotations

from improve.datasets.competitions import FolderCompetition

INNER = "Final_Arabic_Alpha_dataset"
SIGNS = (f"{INNER}/{INNER}/train", f"{INNER}/train", "train")
LETTERS = FolderCompetition("arabic_letters", "arabic-letters-classification", "Arabic Letters Classification", SIGNS)
key, load = LETTERS.key, LETTERS.load
