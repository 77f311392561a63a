"""`strategy=best_of_n`: pipelines that know nothing of each other; the best on the selection images counts."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType

from improve.strategies.strategy import ALL, Asked, Candidate, Settings, Strategy, Workshop


class BestOfN(Strategy):
    """The first pipeline and `strategy.candidates` an iteration, one prompt each: as many as under other strategies."""

    name = "best_of_n"
    refines = False
    fixed = MappingProxyType({"repairs": 0})  # there is nobody who would repair
    # No architect who could plan in one pass or in many, and no analyst who could be shown a history.
    unused = ("unified_initialization", "history")
    note = (
        "asks one prompt a pipeline: the paper's sentence, then the contract that makes the answer scorable, of which "
        "the paper's baseline was told nothing."
    )

    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        return Candidate(ALL, workshop.single_prompt(iteration))

    def calls(self, settings: Settings) -> tuple[Counter[Asked], Counter[Asked]]:
        return Counter({"zero_shot": 1}), Counter({"zero_shot": 1})


STRATEGY = BestOfN()
