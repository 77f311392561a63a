"""`strategy=global`, the paper's ablation without Iterative Refinement (Table 4): all components change at once.

The paper's section 4.2: "all pipeline components were allowed to be modified simultaneously by their respective agents
in every iteration, rather than focusing on improving one component at a time". All else is as in `iterative`.
"""

from __future__ import annotations

from improve.agents.team import NoUsableReply
from improve.refinement.workshop import Workshop
from improve.strategies.iterative import begin


def all_at_once(workshop: Workshop) -> None:
    """The first pipeline, then `strategy.iterations` revisions by all three engineers."""
    for iteration in workshop.iterations():
        if workshop.incumbent is None:
            begin(workshop, iteration)
        else:
            rewrite(workshop, iteration)


def rewrite(workshop: Workshop, iteration: int) -> None:
    """Analyst → three engineers → candidate → training → score → verdict."""
    try:
        proposal = workshop.propose(iteration)
        candidate = workshop.revise_all(iteration, proposal)
    except NoUsableReply as error:
        workshop.fail(iteration, workshop.proposed_component(iteration), error.failure)
        return
    workshop.evaluate(iteration, "all", candidate, proposal.feedback)
