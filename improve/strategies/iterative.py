"""Iterative Refinement (paper, section 3.1): one component an iteration, kept only if the pipeline gets better."""

from __future__ import annotations

from improve.agents.team import NoUsableReply
from improve.refinement.workshop import Workshop


def iterative(workshop: Workshop) -> None:
    """The first pipeline, then `strategy.iterations` revisions of one component each; fewer if the run is stopped."""
    for iteration in workshop.iterations():
        if workshop.incumbent is None:
            begin(workshop, iteration)
        else:
            refine(workshop, iteration)


def begin(workshop: Workshop, iteration: int) -> None:
    """A whole pipeline: iteration 0, and again as long as none has a score."""
    try:
        pipeline = workshop.first_pipeline(iteration)
    except NoUsableReply as error:
        workshop.fail(iteration, "all", error.failure)
        return
    workshop.evaluate(iteration, "all", pipeline)


def refine(workshop: Workshop, iteration: int) -> None:
    """Analyst → engineer → candidate → training → score → verdict."""
    try:
        proposal = workshop.propose(iteration)
        candidate = workshop.revise(iteration, proposal)
    except NoUsableReply as error:
        workshop.fail(iteration, workshop.proposed_component(iteration), error.failure)
        return
    workshop.evaluate(iteration, proposal.component, candidate, proposal.feedback)
