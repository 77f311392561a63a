"""The rule-based expert: answers every role's prompt from its text alone. No language model, no clock.

Chance plays a part, by the seed of the request alone, in two baselines: zero-shot pipelines, and an analyst that draws
its ideas (`llm=offline_random`).

It is the baseline that needs no language model, so it knows no dataset by name: it reads the card, the limits, the
history, the log and the sources out of the prompt, diagnoses, and writes components from the techniques of the field.
"""

from __future__ import annotations

from improve.domain import COMPONENTS, ENGINEER_OF
from improve.expert.analyst import analyse, ideas_drawn
from improve.expert.engineer import present_recipes, revise, write
from improve.expert.first import first_recipes, plan
from improve.expert.reading import Facts, read
from improve.expert.recipe import Recipes
from improve.expert.situation import Situation
from improve.expert.summary import summarize
from improve.expert.zero_shot import zero_shot_recipes


def answer(system: str, user: str, seed: int = 0, at_random: bool = False) -> str:
    """The reply to a prompt: same prompt and seed, same reply. Raises nothing, whatever the texts are.

    `at_random`: the analyst draws one of its possible ideas instead of asking for the most promising one.
    """
    facts = read(system, user)
    if facts.role == "zero_shot":
        return "A usual pipeline (rule-based expert, drawn at random).\n" + _files(zero_shot_recipes(facts.task, seed))
    if facts.role == "architect":
        return _architect(facts)
    if facts.role == "summarizer":
        return summarize(facts.step)
    for component, role in ENGINEER_OF.items():
        if facts.role == role:
            return revise(facts, component)
    now = Situation(facts, present_recipes(facts))
    return analyse(now, draw=ideas_drawn(now, seed)) if at_random else analyse(now)


def _architect(facts: Facts) -> str:
    recipes = first_recipes(facts.task, facts.failed)
    text = plan(recipes, facts.task)
    return text + (_files(recipes) if facts.whole_pipeline else "") + "\n"


def _files(recipes: Recipes) -> str:
    """The three components as code blocks."""
    return "".join(f"\n\n```python\n# {name}.py\n{write(recipes.of(name))}```" for name in COMPONENTS)
