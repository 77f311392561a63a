"""What a run claims, recorded once at its end: the gain over the first pipeline, and what each component gained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from improve.judging.claims import Gain, Step, gain, gains_by_component
from improve.judging.evidence import Luck, Tally, luck
from improve.judging.racing import PRIOR
from improve.judging.scoring import answers
from improve.judging.standings import Entry
from improve.refinement.finish import test_predictions, tested
from improve.refinement.workshop import Workshop


def record_claims(workshop: Workshop) -> None:
    """Records `claims`: see `record.kinds.ClaimsRecord`."""
    if workshop.standings.incumbent is not None:
        workshop.trials.journal.once("claims", "claims", lambda: _claims(workshop))


def _claims(workshop: Workshop) -> dict[str, Any]:
    standings = workshop.standings
    found = _first_against_best(workshop)
    steps = [Step(change.component, change.after.rows, change.before.rows) for change in workshop.changes]
    tally = standings.tally()
    components = gains_by_component(tally, steps, standings.races, _luck(workshop, tally.images))
    return {
        "gain": dataclasses.asdict(found) if found else None,
        "components": {name: dataclasses.asdict(one) for name, one in components.items()},
    }


def _first_against_best(workshop: Workshop) -> Gain | None:
    """On the test images, by all trainings of both; None if they are one pipeline, or one of them has no test score."""
    entries = tested(workshop)
    right = [_right(workshop, entry) for entry in entries]
    if len(entries) < 2 or not all(right):
        return None
    best, first = right
    tally = Tally.of(np.array([*best, *first]))
    rows = range(len(best) + len(first))
    return gain(tally, rows[: len(best)], rows[len(best) :], _luck(workshop, tally.images))


def _right(workshop: Workshop, entry: Entry) -> list[NDArray[np.bool_]]:
    """Which test images each training of a pipeline gets right; those without predictions are left out."""
    labels = workshop.trials.dataset.labels("test")
    given = (test_predictions(workshop, entry.iteration, replicate) for replicate in entry.replicates)
    return [answers(one) == labels for one in given if one is not None]


def _luck(workshop: Workshop, images: int) -> Luck:
    return luck(workshop.standings.shown(), images, PRIOR)
