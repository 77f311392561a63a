"""`improve export`: a file is kept only if it answers as the pipeline does. (Whole: tests/test_run.py.)"""

from __future__ import annotations

import numpy as np
import pytest

from improve.commands.export import compared
from improve.errors import ImproveError

OURS = np.tile(np.array([[0.6, 0.4]], np.float32), (200, 1))


def test_rounding_is_told_and_let_pass() -> None:
    theirs = OURS.copy()
    theirs[0] = (0.601, 0.399)
    assert compared(OURS, theirs) == "200 images of 200 get the same class, and probabilities differ by at most 0.001"


@pytest.mark.parametrize(("rows", "shift"), [(1, 0.3), (200, 0.06), (3, 0.11)])
def test_another_answer_is_refused(rows: int, shift: float) -> None:
    theirs = OURS.copy()
    theirs[:rows] += np.array([-shift, shift], np.float32)
    with pytest.raises(ImproveError, match="does not answer as the pipeline does"):
        compared(OURS, theirs)
