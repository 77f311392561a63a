"""The analyst: every idea there is, judged by the evidence and by what became of it before; the best is asked for."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from improve.domain import COMPONENTS, Component
from improve.expert.idea import Idea
from improve.expert.moves_data import data_ideas
from improve.expert.moves_model import model_ideas
from improve.expert.moves_training import training_ideas
from improve.expert.reading import Step
from improve.expert.recipe import Recipe, as_text, bracket, changed
from improve.expert.situation import Situation
from improve.expert.tuning import recovery_ideas, tuning_ideas

Draw = Callable[[Sequence[Component]], Idea]  # one idea for one of these components
NEARLY_EQUAL = 0.08  # numbers that differ by less than this share are the same idea
MOST_TRIES = 3  # of the very same settings, however much has changed in between


def analyse(now: Situation, draw: Draw | None = None) -> str:
    """The analyst's reply: one JSON object. `draw` chooses an idea instead of the analyst's own judgement."""
    if draw:
        return _drawn(now, draw)
    if now.facts.all_components:
        ideas = [best_idea(now, (component,)) for component in COMPONENTS]
        # All brackets first: the history cuts long texts.
        brackets = " ".join(bracket(idea.name, idea.settings) for idea in ideas)
        sentences = " ".join(f"{idea.component}.py: {idea.sentences(_note(now, idea))}" for idea in ideas)
        return _reply("all", now, f"{brackets} {sentences}")
    idea = best_idea(now, COMPONENTS)
    return _reply(idea.component, now, f"{bracket(idea.name, idea.settings)} {idea.sentences(_note(now, idea))}")


def _drawn(now: Situation, draw: Draw) -> str:
    """The reply of an analyst without judgement."""
    together = now.facts.all_components
    ideas = [draw((component,)) for component in COMPONENTS] if together else [draw(COMPONENTS)]
    brackets = " ".join(bracket(idea.name, idea.settings) for idea in ideas)
    feedback = f"{brackets} {' '.join(f'{idea.component}.py: {idea.request}' for idea in ideas)}"
    return _json("all" if together else ideas[0].component, "None: the technique was drawn at random.", feedback)


def ideas_drawn(now: Situation, seed: int) -> Draw:
    """Draws a component, then a technique that is possible for it, then its settings: each choice is equally likely.

    Possible is what the expert would consider at all: it changes something, fits into the time, and was not tried on
    this incumbent. The draws depend on `seed` and on the iteration.
    """
    last = max((step.iteration for step in now.facts.history), default=0)
    pending = sum(step.pending for step in now.facts.history)
    chance = random.Random(f"{seed} iteration {last} sibling {pending}" if pending else f"{seed} iteration {last + 1}")

    def draw(components: Sequence[Component]) -> Idea:
        techniques: dict[Component, dict[str, list[Idea]]] = {}
        for idea in possible_ideas(now, components):
            techniques.setdefault(idea.component, {}).setdefault(idea.name, []).append(idea)
        if not techniques:
            return _last_resort(now, chance.choice(components))
        named = techniques[chance.choice(list(techniques))]
        return chance.choice(named[chance.choice(list(named))])

    return draw


def _reply(component: str, now: Situation, feedback: str) -> str:
    return _json(component, diagnosis(now), feedback)


def _json(component: str, said: str, feedback: str) -> str:
    reply = {"component": component, "diagnosis": f"{said} (rule-based expert)", "feedback": feedback}
    return json.dumps(reply, ensure_ascii=False)


def diagnosis(now: Situation) -> str:
    """What the evidence shows, one sentence."""
    if not now.scored:
        return "No pipeline has a score yet."
    if now.unstable:
        return "The training is unstable: its loss jumps."
    if now.overfits:
        return "Overfitting: training accuracy is far above what holds on new images."
    if now.underfits and now.used < 0.6:
        return "Too little training: much of the time limit is unused and the training images are not learnt yet."
    if now.underfits:
        return "Underfitting: even the training images are not learnt well within the time."
    return "Neither over- nor underfitting stands out; what is left are finer gains."


def best_idea(now: Situation, components: Sequence[Component]) -> Idea:
    """The idea for one of these components that promises most after what the history says. There always is one."""
    ideas = possible_ideas(now, components)
    if ideas:
        return max(ideas, key=lambda idea: _worth(now, idea))  # of equals, the one that was listed first
    return _last_resort(now, components[len(now.facts.history) % len(components)])


def possible_ideas(now: Situation, components: Sequence[Component]) -> list[Idea]:
    """The ideas for these components that change something, fit into the time and were not tried unchanged."""
    ideas = [reduced for idea in all_ideas(now) if idea.component in components and (reduced := _reduced(now, idea))]
    return [idea for idea in ideas if _worth(now, idea) > 0]


def all_ideas(now: Situation) -> list[Idea]:
    groups = [] if now.scored or not now.facts.history else [recovery_ideas]
    groups += [training_ideas, model_ideas, data_ideas, tuning_ideas]
    return [idea for group in groups for idea in group(now)]


def _reduced(now: Situation, idea: Idea) -> Idea | None:
    """The idea with those settings alone that differ from the present ones; None if nothing is left of it."""
    recipe = now.recipes.of(idea.component)
    after = changed(recipe, idea.settings)
    settings = {name: getattr(after, name) for name in idea.settings if getattr(after, name) != getattr(recipe, name)}
    return replace(idea, settings=settings) if settings else None


def _worth(now: Situation, idea: Idea) -> float:
    """Its value after the history: 0 for what does not fit into the time, or was tried unchanged."""
    same = [step for step in _same(now, idea) if not step.surpassed]
    if same and (not _changed_since(now, same[-1]) or len(same) >= MOST_TRIES or same[-1].failed):
        return 0.0
    if now.scored and not now.fits(now.recipes.changed(idea.settings)):
        return 0.0
    value = idea.value * 0.4 ** len(same)
    for step in now.facts.history:
        if not (step.accepted or step.surpassed) and step.iteration and step.component in (idea.component, "all"):
            value *= _doubt(step, idea, fresh=step.iteration > now.last_accepted)
    return value


def _doubt(step: Step, idea: Idea, *, fresh: bool) -> float:
    """What an unsuccessful step leaves of the hope in an idea; less if the incumbent is still the same ("fresh").

    Beside what is tried at the same time, ideas of another kind promise most: at most one of them is gone on from.
    """
    if step.pending:
        return 0.1 if idea.name in step.ideas else 0.3 if set(idea.settings) & set(step.settings) else 0.6
    if idea.name in step.ideas:
        return (0.75 if fresh else 0.9) if step.within_noise else (0.35 if fresh else 0.65)
    doubt = 0.8 if step.failed and fresh else 1.0
    if set(idea.settings) & set(step.settings):
        return doubt * (0.85 if fresh else 0.95)
    return doubt * (0.95 if fresh else 1.0)


def _changed_since(now: Situation, step: Step) -> bool:
    """Whether the incumbent is another one than when the step was tried."""
    beside = now.last_accepted == step.iteration and not step.accepted
    return now.last_accepted > step.iteration or beside


def _same(now: Situation, idea: Idea) -> list[Step]:
    """The steps that tried these settings already, give or take a little."""
    recipe = now.recipes.of(idea.component)
    return [step for step in now.facts.history if step.iteration and _tried(step, idea, recipe)]


def _tried(step: Step, idea: Idea, recipe: Recipe) -> bool:
    if step.component not in (idea.component, "all"):
        return False
    own = [name for name in step.settings if hasattr(recipe, name)]
    if step.cut_short and idea.name in step.ideas:
        # The history shows only the beginning of its settings: rather take it for the same.
        names = own
    elif own and set(idea.settings) <= set(own):
        names = own
    else:
        return False
    tried, wanted = changed(recipe, step.settings), changed(recipe, idea.settings)
    return all(_alike(getattr(tried, name), getattr(wanted, name)) for name in names)


def _alike(a: object, b: object) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool):
        return math.isclose(a, b, rel_tol=NEARLY_EQUAL, abs_tol=1e-9)
    return a == b


def _note(now: Situation, idea: Idea) -> str:
    """Says so where an idea comes back, and why."""
    same = _same(now, idea)
    if not same:
        return ""
    since = [s for s in now.facts.history if s.accepted and s.iteration > same[-1].iteration]
    what = ", ".join(dict.fromkeys(name for step in since for name in step.ideas)) or "another change"
    return f"It was tried in step {same[-1].iteration}, but since then {what} has been accepted, so it may help now."


def _last_resort(now: Situation, component: Component) -> Idea:
    """A number that was not tried yet: ever other steps around the present one."""
    name = {"training": "lr", "data": "shift", "model": "dropout"}[component]
    present = getattr(now.recipes.of(component), name)
    first = len(now.facts.history)
    for count in range(first, first + 100):
        if component == "training":
            value: float = float(f"{present * (0.4 + 1.2 * ((count * 0.618) % 1)):.3g}")
        elif component == "model":
            value = round((0.013 * (count + 1)) % 0.6, 3)
        else:
            value = (int(present) + 1 + count) % max(3, now.task.side // 3)
        idea = Idea(
            f"try-{name}", component, {name: value}, 0.001, "All other ideas are used up.",
            f"Change {name} from {as_text(present)} to {as_text(value)}.",
        )  # fmt: skip
        if not _same(now, idea) and not _alike(present, value):
            break
    return idea
