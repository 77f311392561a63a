"""What comes back from a prediction: bytes of generated code, to be distrusted.

Whatever is not a complete set of probability rows is no score at all, never a mean over the part that happened to work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]  # N×K, rows sum to 1

RANGE_TOLERANCE = 1e-5  # a float32 softmax may miss 0 and 1 by rounding
SUM_TOLERANCE = 1e-3  # … and, in half precision, its rows miss 1 by a little more


class BadPredictions(ValueError):
    """What a pipeline sent is not a set of predictions. The message is one line; the candidate has no score."""


def parse_predictions(raw: bytes, rows: int, classes: int) -> Probabilities:
    """N×K probabilities from little-endian float32 bytes, row by row.

    Raises `BadPredictions` if they are short, long, not finite, outside [0, 1], or if a row does not sum to 1.
    """
    expected = rows * classes * 4
    if len(raw) != expected:
        kind = "too few" if len(raw) < expected else "too many"
        raise BadPredictions(
            f"{kind} predictions: {len(raw)} bytes instead of {expected} ({rows} images × {classes} classes)"
        )
    values = np.frombuffer(raw, dtype="<f4").reshape(rows, classes).astype(np.float32)
    _refuse(~np.isfinite(values), "hold NaN or infinite values")
    _refuse((values < -RANGE_TOLERANCE) | (values > 1 + RANGE_TOLERANCE), "lie outside [0, 1]")
    sums = values.sum(axis=1, keepdims=True, dtype=np.float64)
    _refuse(np.abs(sums - 1) > SUM_TOLERANCE, "do not sum to 1")
    return values


def _refuse(wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        bad = np.asarray(wrong.any(axis=1))
        raise BadPredictions(
            f"the probabilities of {int(bad.sum())} of {len(bad)} images {what} (first: image {int(bad.argmax())})"
        )
