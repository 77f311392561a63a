"""The loop of a run: iteration after iteration, each with the candidates that the strategy has, and their verdicts."""

from __future__ import annotations

from improve.agents.team import NoUsableReply
from improve.domain import Failure
from improve.refinement.workshop import Workshop
from improve.spending.budget import BudgetUsed
from improve.strategies import Candidate


def refine(workshop: Workshop) -> dict[str, str]:
    """All iterations, or those before a budget or a reason to stop: why the loop ended, and the budget's key."""
    try:
        for iteration in workshop.iterations():
            _carry_out(workshop, iteration)
    except BudgetUsed as stop:
        return {"reason": stop.reason, "budget": stop.key}
    return {"reason": workshop.stopped or "all iterations done", "budget": ""}


def _carry_out(workshop: Workshop, iteration: int) -> None:
    """Have the candidates of an iteration proposed, one after the other; then they are trained and judged together.

    Those that there are when a budget ends are judged, too.
    """
    tries: dict[int, Candidate | Failure] = {}
    stop = None
    for number in workshop.numbering.numbers(iteration):
        if workshop.trials.budget:
            workshop.trials.budget.promised = sum(isinstance(one, Candidate) for one in tries.values())
        try:
            tries[number] = workshop.strategy.candidate(workshop, number)
        except NoUsableReply as error:
            tries[number] = error.failure
        except BudgetUsed as used:
            stop = used
            break
    workshop.evaluate(tries)
    if stop:
        raise stop
