"""Iterative Refinement (paper, section 3.1): one component an iteration, kept only if the pipeline gets better."""

from __future__ import annotations

from improve.strategies.strategy import ALL, Candidate, Strategy, Workshop


class Iterative(Strategy):
    """A whole pipeline first, and again as long as none has a score; then analyst → engineer → candidate."""

    name = "iterative"

    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        if not workshop.has_incumbent:
            return Candidate(ALL, workshop.first_pipeline(iteration))
        proposal = workshop.propose(iteration)
        return Candidate(proposal.component, workshop.revise(iteration, proposal), proposal.feedback)


STRATEGY = Iterative()
