"""After the loop, in this order: the last trainings, the test images, what may be claimed."""

from __future__ import annotations

from improve.config.schema import FinishConfig
from improve.refinement.claims import record_claims
from improve.refinement.final import score_test
from improve.refinement.finish import complete, score_members
from improve.refinement.workshop import Workshop


def conclude(workshop: Workshop, finish: FinishConfig) -> None:
    complete(workshop, finish)
    score_test(workshop)
    score_members(workshop, finish)
    record_claims(workshop)
