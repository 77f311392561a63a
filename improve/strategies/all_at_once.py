"""`strategy=global`, the paper's ablation without Iterative Refinement (Table 4): all components change at once.

The paper's section 4.2: "all pipeline components were allowed to be modified simultaneously by their respective agents
in every iteration, rather than focusing on improving one component at a time". All else is as in `iterative`.
"""

from __future__ import annotations

from improve.strategies.strategy import ALL, Candidate, Strategy, Workshop


class AllAtOnce(Strategy):
    """A whole pipeline first, and again as long as none has a score; then analyst → three engineers → candidate."""

    name = "global"
    choices = (ALL,)

    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        if not workshop.has_incumbent:
            return Candidate(ALL, workshop.first_pipeline(iteration))
        proposal = workshop.propose(iteration)
        return Candidate(ALL, workshop.revise_all(iteration, proposal), proposal.feedback)


STRATEGY = AllAtOnce()
