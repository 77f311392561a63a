"""The loop of a run: candidate after candidate as the strategy has them, each with its verdict."""

from __future__ import annotations

from improve.agents.team import NoUsableReply
from improve.refinement.workshop import Workshop
from improve.spending.budget import BudgetUsed


def refine(workshop: Workshop) -> dict[str, str]:
    """All iterations, or those before a budget or a reason to stop: why the loop ended, and the budget's key."""
    try:
        for iteration in workshop.iterations():
            try:
                candidate = workshop.strategy.candidate(workshop, iteration)
            except NoUsableReply as error:
                workshop.fail(iteration, error.failure)
            else:
                workshop.evaluate(iteration, candidate)
    except BudgetUsed as stop:
        return {"reason": stop.reason, "budget": stop.key}
    return {"reason": workshop.stopped or "all iterations done", "budget": ""}
