"""`improve prompts show ROLE [KEY=VALUE]…`: the prompt that a role would get, rendered; nobody is asked.

The architect's is the very one that a run begins with. The others depend on what a run has done so far: they are shown
for an example, the rule-based expert's first pipeline and a made-up first result, which the text says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from improve.agents import views
from improve.agents.parsing import whole_pipeline
from improve.cache import cache_folder
from improve.compose import config_from
from improve.config import check
from improve.datasets import check_source, prepare
from improve.domain import COMPONENTS, ENGINEER_OF, Role
from improve.errors import ConfigError, nearest
from improve.execution.local import LocalExecutor
from improve.llm.offline.expert import answer
from improve.pipeline.weights import usable_weights
from improve.prompts import Prompt, PromptSet
from improve.sandbox import choose
from improve.session import shown_context

CHARACTERS_A_TOKEN = 3.5  # of English text and Python; an estimate, since each model counts in its own way
EXAMPLE = "(an example, made up to show this prompt)"


def show(name: str, overrides: Sequence[str]) -> str:
    """Both texts of a role's prompt under headings, with their size. Raises `ConfigError` for an unknown role."""
    role = next((role for role in get_args(Role) if role == name), None)
    if role is None:
        raise ConfigError(f"there is no role {name!r}.", nearest(name, get_args(Role)))
    config = config_from(overrides)
    check(config)
    prompts = PromptSet(config.prompts.name, config.prompts.path)
    check_source(config.dataset)
    cache = cache_folder(config.cache_dir)
    dataset = prepare(config.dataset, cache, lambda note: None)
    executor = LocalExecutor(
        config.executor,
        choose("auto"),
        dataset,
        usable_weights(config.executor, cache),
        Path(),
        config.seed,
        lambda *_: None,
    )
    fixed = {"card": dataset.card(), "context": shown_context(executor, dataset)}
    prompt = _render(prompts, role, fixed, config.strategy.unified_initialization)
    tokens = round((len(prompt.system) + len(prompt.user)) / CHARACTERS_A_TOKEN)
    head = f"# {role}, prompt set {prompts.name} {prompts.hash()[:12]}, about {tokens} tokens\n"
    return f"{head}\n# System\n\n{prompt.system}\n# User\n\n{prompt.user}"


def _render(prompts: PromptSet, role: Role, fixed: dict[str, Any], unified: bool) -> Prompt:
    first = prompts.render("architect", unified=True, error=None, **fixed)
    if role == "architect":
        return first if unified else prompts.render("architect", unified=False, error=None, **fixed)
    _, pipeline = whole_pipeline(answer(first.system, first.user))
    sources = {name: pipeline.source(name) for name in COMPONENTS}
    if role == "analyst":
        return prompts.render(role, **_result(), sources=sources, all_components=False, **fixed)
    if role == "summarizer":
        step = views.dump({"iteration": 1, "component": "data", "feedback": EXAMPLE, "verdict": "rejected"})
        return prompts.render(role, step=step, diff=EXAMPLE, **fixed)
    component = next(name for name, engineer in ENGINEER_OF.items() if engineer == role)
    return prompts.render(
        role, component=component, sources=sources, plan="", feedback=EXAMPLE, error=None, fresh=False, **fixed
    )


def _result() -> dict[str, str]:
    """History and log after one training, with numbers of nobody's."""
    rows = [{"epoch": 0, "train_loss": 2.0, "train_accuracy": 0.3, "validation_loss": 1.9, "validation_accuracy": 0.33}]
    step = views.Step(0, "all", f"a first pipeline {EXAMPLE}", "accepted", 0.33, 0.3, 0.33)
    return {"history": views.history([step], 1), "log": views.training_log(views.TrainingLog(rows, 1, 5, 0.3))}
