"""What a run claims, recorded once at its end: the gain over the first pipeline, and what each component gained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from improve.judging.claims import claimed
from improve.judging.scoring import answers
from improve.judging.standings import Entry
from improve.refinement.finish import test_predictions, tested
from improve.refinement.workshop import Workshop


def record_claims(workshop: Workshop) -> None:
    """Records `claims`: see `record.kinds.ClaimsRecord`."""
    standings = workshop.standings
    if standings.incumbent is None:
        return
    right = [_right(workshop, entry) for entry in tested(workshop)]
    workshop.trials.journal.once("claims", "claims", lambda: claimed(standings, workshop.changes, right))


def _right(workshop: Workshop, entry: Entry) -> list[NDArray[np.bool_]]:
    """Which test images each training of a pipeline gets right; those without predictions are left out."""
    labels = workshop.trials.dataset.labels("test")
    given = (test_predictions(workshop, entry.iteration, replicate) for replicate in entry.replicates)
    return [answers(one) == labels for one in given if one is not None]
