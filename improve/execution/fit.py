"""One training as an executor gives it back, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from improve.domain import Failure
from improve.execution.length import Length

# Beyond its own time limit a training may finish its step and its validation, and write its weights.
GRACE_SHARE, GRACE_SECONDS = 0.5, 30.0
PATIENCE = 1.5  # beside others


@dataclass(frozen=True)
class Samples:
    """Augmented training images, M × side × side × 3 uint8, as the generated code shows them; or why there are none."""

    pixels: np.ndarray | None
    problem: str = ""


@dataclass(frozen=True)
class Fit:
    """One training. `rows` (a validation each) and its length are self-reported."""

    failure: Failure | None
    seconds: float
    rows: tuple[dict[str, Any], ...] = ()
    length: Length = field(default_factory=Length)
    samples: Samples | None = None  # what the data component made of the images that were asked for


def patience(slots: int) -> float:
    """By which factor of its time limit a training may be late: beside others it is to have the steps that were planned
    for it and its like, be it that a step takes longer than when it was timed."""
    return PATIENCE if slots > 1 else 1.0


def hard_limit(fit_seconds: float, slots: int = 1) -> float:
    """Seconds after which a training is ended by force."""
    most = patience(slots) * fit_seconds
    return most + max(GRACE_SECONDS, GRACE_SHARE * most)
