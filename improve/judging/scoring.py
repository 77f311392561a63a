"""Trusted: a pipeline's predictions and the hidden labels in, a score out."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from improve.domain import Score
from improve.errors import ResumeError
from improve.execution.predictions import Probabilities

Labels = NDArray[np.int64]  # N class numbers, 0 … K-1
Answers = NDArray[np.int64]  # N class numbers, or NO_ANSWER

NO_ANSWER = -1


def answers(probabilities: Probabilities) -> Answers:
    """The most probable class of each image; `NO_ANSWER` where two or more classes share the highest probability.

    A tie is no answer and never correct. Any rule that picked one of the tied classes would give a uniform
    predictor that class's frequency as its accuracy; this one gives it 0, looks at no label, and does not depend
    on the order of the images.
    """
    highest = probabilities.max(axis=1, keepdims=True)
    tied = (probabilities == highest).sum(axis=1) > 1
    return np.where(tied, NO_ANSWER, probabilities.argmax(axis=1)).astype(np.int64)


def score(probabilities: Probabilities, labels: Labels) -> Score:
    """Top-1 accuracy with its 95% Wilson interval. Raises `ValueError` if there are no or not as many labels."""
    if len(probabilities) != len(labels) or not len(labels):
        raise ValueError(f"{len(probabilities)} predictions for {len(labels)} labels")
    correct = int((answers(probabilities) == labels).sum())
    low, high = wilson(correct, len(labels))
    return Score(correct, len(labels), low, high)


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion, as two fractions in [0, 1]."""
    from scipy.stats import binomtest  # a second of import that a refused configuration need not wait for

    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def confusion_matrix(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """K×K counts: rows are true classes, columns are answers. An image without an answer (a tie) is in no column."""
    return confusions(answers(probabilities), labels, probabilities.shape[1])


def confusions(given: Answers, labels: Labels, classes: int) -> NDArray[np.int64]:
    """The same of answers, of so many classes."""
    answered = given != NO_ANSWER
    cells = np.bincount(labels[answered] * classes + given[answered], minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def worst_images(probabilities: Probabilities, labels: Labels, count: int) -> list[int]:
    """At most `count` row numbers with a wrong answer, the most confident first."""
    given = answers(probabilities)
    wrong = np.flatnonzero((given != labels) & (given != NO_ANSWER))
    confidence = probabilities[wrong, given[wrong]]
    return [int(row) for row in wrong[np.argsort(-confidence, kind="stable")][:count]]


def save_predictions(path: Path, probabilities: Probabilities) -> str:
    """Write a .npy file so that a crash leaves the old one or the new one; gives its SHA-256, hexadecimal."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        np.save(file, probabilities.astype("<f4"), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    os.replace(part, path)
    return digest


def load_predictions(path: Path, sha256: str) -> Probabilities:
    """The probabilities that `save_predictions` wrote. Raises `ResumeError` if the file is missing or has changed."""
    fix = "restore the file from a copy, or start again in another folder (run_dir=…)"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ResumeError(f"{path} is missing: the journal counts on these predictions.", fix) from None
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ResumeError(f"{path} is not the file that was scored: its checksum differs from the journal's.", fix)
    values: Probabilities = np.load(io.BytesIO(raw), allow_pickle=False).astype(np.float32)
    return values
