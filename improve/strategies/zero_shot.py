"""Baselines that ask one prompt for a whole pipeline: once (paper, section 4.1), or n times.

There are no roles: nobody revises, repairs or summarises. `zero_shot` trains one pipeline. `best_of_n` trains as many
as another strategy has trainings and keeps the best on the selection images, so that a study can say what refinement
adds to mere repetition. Both are scored on the test images like every run: the first pipeline and the best.
"""

from __future__ import annotations

from improve.agents.team import NoUsableReply
from improve.refinement.workshop import Workshop


def zero_shot(workshop: Workshop) -> None:
    """`1 + strategy.iterations` pipelines that know nothing of each other; `zero_shot` itself has no iterations."""
    for iteration in workshop.iterations():
        try:
            pipeline = workshop.zero_shot(iteration)
        except NoUsableReply as error:
            workshop.fail(iteration, "all", error.failure)
        else:
            workshop.evaluate(iteration, "all", pipeline)
