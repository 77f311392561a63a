"""`strategy=random`: what choosing is worth. Refinement by the rule-based expert, who draws what to try at random."""

from __future__ import annotations

from improve.strategies.iterative import Iterative


class Random(Iterative):
    """The same run as `strategy=iterative llm=offline_random`, whatever llm is given: a study has it once."""

    name = "random"
    llm = "offline_random"
    recorded_as = "iterative"


STRATEGY = Random()
