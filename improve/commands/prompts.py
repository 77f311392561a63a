"""`improve prompts show ROLE [KEY=VALUE]…`: the prompt that a role would get, rendered; nobody is asked.

The architect's is the very one that a run begins with. The others depend on what a run has done so far: they are shown
for an example, the rule-based expert's first pipeline and a made-up first result, which the text says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from improve.agents import views
from improve.agents.parsing import whole_pipeline
from improve.agents.prompts import PromptSet
from improve.agents.team import PLAN_LENGTH
from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.decisive import selection_split
from improve.config.places import cache_folder
from improve.config.schema import Config
from improve.datasets import check_source, prepare
from improve.domain import COMPONENTS, ENGINEER_OF, Prompt, Role
from improve.errors import ConfigError, nearest
from improve.execution import machine
from improve.execution.local import LocalExecutor
from improve.expert.expert import answer
from improve.pipeline.architecture import informed
from improve.pipeline.supply import Supply
from improve.refinement.workshop import MAX_DIFF
from improve.sandbox import choose
from improve.session.session import brief_of
from improve.spending.estimate import Example
from improve.spending.worst_case import usual_tokens
from improve.strategies import find

MAX_DETAIL = 6000  # characters of an error that an engineer is shown
MAX_FEEDBACK = 8000  # characters that the analyst may write to an engineer
EXAMPLE = "(an example, made up to show this prompt)"


@dataclass(frozen=True)
class Preview:
    """Prompts of a run that has not begun. `fixed` are the variables that every prompt gets."""

    prompts: PromptSet
    fixed: dict[str, Any]
    unified: bool
    num_classes: int

    @classmethod
    def of(cls, config: Config) -> Preview:
        """Of a checked configuration; its images are prepared for it, if they are not yet."""
        prompts = PromptSet(config.prompts.name, config.prompts.path)
        cache = cache_folder(config.cache_dir)
        check_source(config.dataset, cache)
        supply = Supply.of(config, cache, None, "", lambda note: None, fetching=False)
        weights = supply.at_hand
        limit = machine.time_limit(config.executor)
        prepared = prepare(config.dataset, cache, lambda note: None, select_on=selection_split(config), limit=limit)
        dataset = informed(prepared, config.dataset, weights)
        executor = LocalExecutor(
            config.executor, choose("auto"), dataset, weights, Path(), config.seed, lambda *_: None,
            slots=machine.slots(config.executor, config.strategy.candidates),
        )  # fmt: skip
        fixed = brief_of(dataset, executor, find(config.strategy.name), supply.offered()).variables()
        return cls(prompts, fixed, config.strategy.unified_initialization, len(dataset.class_names))

    def prompt(self, role: Role) -> Prompt:
        if role == "zero_shot":
            return self.prompts.render(role, num_classes=self.num_classes, **self.fixed)
        return _render(self.prompts, role, self.fixed, self.unified)


def examples(preview: Preview) -> dict[Role, Example]:
    """What each role is shown and answers in an example run, for an estimate of a real one."""
    return {role: _example(role, preview.prompt(role)) for role in get_args(Role)}


def _example(role: Role, prompt: Prompt) -> Example:
    growth = {
        "architect": MAX_DETAIL,
        "zero_shot": MAX_DETAIL,
        "summarizer": MAX_DIFF + MAX_FEEDBACK,
        "analyst": views.HISTORY_LENGTH,
    }
    most = growth.get(role, MAX_DETAIL + MAX_FEEDBACK + PLAN_LENGTH)
    return Example(prompt, answer(prompt.system, prompt.user), most)


def show(name: str, overrides: Sequence[str]) -> str:
    """Both texts of a role's prompt under headings, with their size. Raises `ConfigError` for an unknown role."""
    role = next((role for role in get_args(Role) if role == name), None)
    if role is None:
        raise ConfigError(f"there is no role {name!r}.", nearest(name, get_args(Role)))
    config = config_from(overrides)
    check(config)
    preview = Preview.of(config)
    return shown(role, preview.prompts, preview.prompt(role))


def shown(role: Role, prompts: PromptSet, prompt: Prompt) -> str:
    """A prompt as text, with its size."""
    tokens = usual_tokens(prompt.system + prompt.user)
    head = f"# {role}, prompt set {prompts.name} {prompts.hash()[:12]}, about {tokens} tokens\n"
    return f"{head}\n# System\n\n{prompt.system}\n# User\n\n{prompt.user}"


def _render(prompts: PromptSet, role: Role, fixed: dict[str, Any], unified: bool) -> Prompt:
    first = prompts.render("architect", unified=True, error=None, **fixed)
    if role == "architect":
        return first if unified else prompts.render("architect", unified=False, error=None, **fixed)
    _, pipeline = whole_pipeline(answer(first.system, first.user))
    sources = {name: pipeline.source(name) for name in COMPONENTS}
    if role == "analyst":
        mistakes = views.mistakes(np.array([[3, 1], [0, 4]]), ["class A", "class B"])
        return prompts.render(role, **_result(), sources=sources, mistakes=mistakes, **fixed)
    if role == "summarizer":
        step = views.dump({"iteration": 1, "component": "data", "feedback": EXAMPLE, "verdict": "rejected"})
        return prompts.render(role, step=step, diff=EXAMPLE, **fixed)
    component = next(name for name, engineer in ENGINEER_OF.items() if engineer == role)
    return prompts.render(
        role,
        component=component,
        sources=sources,
        plan="",
        feedback=EXAMPLE,
        error=None,
        fresh=False,
        log=_result()["log"],
        **fixed,
    )


def _result() -> dict[str, str]:
    """History and log after one training, with numbers of nobody's."""
    rows = [{"epoch": 0, "train_loss": 2.0, "train_accuracy": 0.3, "validation_loss": 1.9, "validation_accuracy": 0.33}]
    step = views.Step(0, "all", f"a first pipeline {EXAMPLE}", "accepted", 0.33, 0.3, 0.33, steps=100, used_share=0.3)
    return {"history": views.history([step], 1), "log": views.training_log(views.TrainingLog(rows, 1, 5, 0.3, 100))}
