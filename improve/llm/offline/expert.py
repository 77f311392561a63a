"""The rule-based expert: answers every role's prompt from its text alone. No language model, no clock, no chance.

It is the baseline that needs no language model, so it knows no dataset by name: it reads the card, the limits, the
history, the log and the sources out of the prompt, diagnoses, and writes components from the techniques of the field.
"""

from __future__ import annotations

from improve.domain import COMPONENTS, ENGINEER_OF
from improve.llm.offline.analyst import analyse
from improve.llm.offline.engineer import present_recipes, revise, write
from improve.llm.offline.first import first_recipes, plan
from improve.llm.offline.reading import Facts, read
from improve.llm.offline.situation import Situation
from improve.llm.offline.summary import summarize


def answer(system: str, user: str) -> str:
    """The reply to a prompt: same prompt, same reply. Raises nothing, whatever the texts are."""
    facts = read(system, user)
    if facts.role == "architect":
        return _architect(facts)
    if facts.role == "summarizer":
        return summarize(facts.step)
    for component, role in ENGINEER_OF.items():
        if facts.role == role:
            return revise(facts, component)
    return analyse(Situation(facts, present_recipes(facts)))


def _architect(facts: Facts) -> str:
    recipes = first_recipes(facts.task, facts.failed)
    text = plan(recipes, facts.task)
    if facts.whole_pipeline:
        for component in COMPONENTS:
            text += f"\n\n```python\n# {component}.py\n{write(recipes.of(component))}```"
    return text + "\n"
