"""`strategy=placebo`: changes that cannot matter, so that anyone can measure what a rule calls better by mistake."""

from __future__ import annotations

from collections import Counter

from improve.domain import COMPONENTS
from improve.strategies.strategy import ALL, Asked, Candidate, Settings, Strategy, Workshop


class Placebo(Strategy):
    """The first pipeline, and then the same with a comment more, in each component in turn. Nobody is asked."""

    name = "placebo"
    unused = ("history",)
    note = "changes comments alone: whatever is called better under it, is not."

    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        best = workshop.best
        if best is None:
            return Candidate(ALL, workshop.first_pipeline(iteration))
        component = COMPONENTS[iteration % len(COMPONENTS)]
        source = f"{best.source(component).rstrip()}\n# placebo {iteration}\n"
        return Candidate(component, best.with_component(component, source), "Change a comment.")

    def calls(self, settings: Settings) -> tuple[Counter[Asked], Counter[Asked]]:
        return super().calls(settings)[0], Counter({"summarizer": 1})


STRATEGY = Placebo()
