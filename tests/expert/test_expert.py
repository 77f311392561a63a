"""The rule-based expert as the roles meet it: prompts in, replies out; whole runs with made-up verdicts."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.agents import views
from improve.agents.parsing import Proposal, component_source, json_object, plain_text, whole_pipeline
from improve.agents.prompts import PromptSet
from improve.domain import COMPONENTS, ENGINEER_OF, Failure, Pipeline, Prompt, Reason
from improve.expert.expert import answer
from improve.expert.recipe import DataRecipe, ModelRecipe, TrainingRecipe, find, settings_in

PROMPTS = PromptSet("improve")
REQUIRED = {
    "data": {"DataModule"},
    "model": {"Model"},
    "training": {"batch_size", "trainer_kwargs", "configure_optimizers"},
}
RECIPES = {"data": DataRecipe, "model": ModelRecipe, "training": TrainingRecipe}


def task(
    side: int = 32, channels: int = 3, classes: int = 10, images: int = 5000, description: str = "", **context: Any
) -> dict[str, str]:
    """The card and the context of a task, as every prompt holds them."""
    image = {"height": side, "width": side, "channels": channels}
    card = {
        "name": "images", "description": description, "task": f"{classes}-class image classification",
        "classes": [f"class {i}" for i in range(classes)], "counts": {"train": images}, "image": image,
    }  # fmt: skip
    per_class = images // classes
    shown = {
        "hardware": "2 CPU cores, no GPU", "threads": 1, "fit_seconds": 60, "train_images": round(0.9 * images),
        "image": image, "num_classes": classes, "images_per_class": {"min": per_class, "max": per_class},
        "pretrained": [], "libraries": {}, **context,
    }  # fmt: skip
    return {"card": views.dump(card), "context": views.dump(shown)}


TASKS = {
    "shapes": task(32, 1, 40, 8000, "White shapes on black; the label is the orientation of the shape."),
    "photos": task(128, 3, 5, 3000, "Photos of flowers.", pretrained=["tf_efficientnet_lite0"], fit_seconds=90),
    "tiny": task(8, 1, 10, 1300, "Handwritten digits."),
    "uneven": task(32, 3, 10, 3000, images_per_class={"min": 20, "max": 900}),
    "large": task(224, 3, 1000, 200_000, hardware="1 GPU (80 GB)", fit_seconds=3600),
    "no card": {**task(48, 3, 4, 900), "card": ""},
}


def ask(prompt: Prompt) -> str:
    return answer(prompt.system, prompt.user)


def first(given: dict[str, str]) -> Pipeline:
    _, pipeline = whole_pipeline(ask(PROMPTS.render("architect", unified=True, error=None, **given)))
    return pipeline


def defined(source: str) -> set[str]:
    """The names that a module defines at its top. Raises SyntaxError for what is no Python."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@dataclass
class Game:
    """A run with invented trainings: the verdicts come from a random generator."""

    given: dict[str, str]
    chance: random.Random
    all_components: bool = False
    steps: list[views.Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pipeline = first(self.given)
        self.accuracy = self.chance.uniform(0.2, 0.9)
        self.steps.append(views.Step(0, "all", "a first pipeline", "accepted", self.accuracy, self.accuracy, 0.5))

    def log(self) -> str:
        epochs = int(re.search(r'"max_epochs": (\d+)', self.pipeline.training)[1])  # type: ignore[index]
        train = min(1.0, self.accuracy + self.chance.choice([-0.1, 0.02, 0.3]))
        rows = [
            {"epoch": i + 1, "train_loss": 3 / (i + 1), "train_accuracy": train * (i + 1) / epochs,
             "validation_accuracy": self.accuracy * (i + 1) / epochs, "learning_rate": 0.001}
            for i in range(epochs)
        ]  # fmt: skip
        share = self.chance.choice([0.05, 0.3, 0.7])
        return views.training_log(views.TrainingLog(rows, epochs, max(1, int(0.95 * epochs / share)), share))

    def propose(self, log: str) -> Proposal:
        shown = views.history(self.steps, 12)
        sources = {name: self.pipeline.source(name) for name in COMPONENTS}
        prompt = PROMPTS.render(
            "analyst", history=shown, log=log, sources=sources, all_components=self.all_components, **self.given
        )
        reply = ask(prompt)
        assert reply == ask(prompt)
        return json_object(reply, Proposal)

    def play(self, iterations: int) -> Iterator[tuple[Proposal, Pipeline, views.Step]]:
        """Proposal, candidate and outcome of each iteration; `self.pipeline` is the incumbent before it."""
        for iteration in range(1, iterations + 1):
            proposal = self.propose(self.log())
            candidate = self.pipeline
            for component in COMPONENTS if proposal.component == "all" else (proposal.component,):
                sources = {name: self.pipeline.source(name) for name in COMPONENTS}
                prompt = PROMPTS.render(
                    ENGINEER_OF[component], component=component, sources=sources, plan="", feedback=proposal.feedback,
                    error=None, **self.given,
                )  # fmt: skip
                candidate = candidate.with_component(component, component_source(ask(prompt), component))
            verdict = self.chance.choice(["accepted", "rejected", "rejected", "rejected (within noise)", "failed"])
            reason = self.chance.choice(["timeout: too slow", "out of memory: 9 GiB", "shape: 3 != 4"])
            step = views.Step(
                iteration, proposal.component, proposal.feedback, verdict,
                None if verdict == "failed" else self.accuracy, 0.5, 0.5, reason if verdict == "failed" else "",
            )  # fmt: skip
            yield proposal, candidate, step
            self.steps.append(step)
            if verdict == "accepted":
                self.pipeline = candidate
                self.accuracy += 0.2 * (1 - self.accuracy)


@pytest.mark.parametrize("name", TASKS)
def test_first_pipeline_is_plain_and_carries_its_recipes(name: str) -> None:
    pipeline = first(TASKS[name])
    for component in COMPONENTS:
        assert REQUIRED[component] <= defined(pipeline.source(component))
        assert find(RECIPES[component], pipeline.source(component)) is not None
    recipe = find(DataRecipe, pipeline.data)
    assert recipe is not None
    assert (recipe.mixup, recipe.cutmix, recipe.erase, recipe.auto) == (0, 0, 0, "")


def test_mirrors_photos_but_nothing_whose_label_has_a_direction() -> None:
    def flips(**words: Any) -> bool:
        recipe = find(DataRecipe, first(task(64, 3, **words)).data)
        return recipe is not None and recipe.flip

    assert flips(description="Photos of animals.")
    assert not flips(description="Photos of cars; the label is the direction that they head to.")
    assert not flips(description="Photos of house numbers: the label is the digit in the middle.")


@pytest.mark.parametrize("name", TASKS)
def test_forty_iterations_never_repeat_a_rejected_idea_and_always_write_valid_components(name: str) -> None:
    game = Game(TASKS[name], random.Random(name))
    tried: set[tuple[str, str]] = set()  # since the incumbent changed
    failed: set[tuple[str, str]] = set()
    for proposal, candidate, step in game.play(40):
        brackets = proposal.feedback.split("]")[0]
        assert settings_in(proposal.feedback)[0], "the idea is named in brackets"
        assert (proposal.component, brackets) not in tried | failed
        changed = candidate.changed(game.pipeline)
        assert changed == (proposal.component,), "an idea changes its own component and does change it"
        assert REQUIRED[proposal.component] <= defined(candidate.source(proposal.component))  # type: ignore[index]
        assert len(brackets) < 120
        if step.verdict == "accepted":
            tried = set()
        tried.add((proposal.component, brackets))
        if step.verdict == "failed":
            failed.add((proposal.component, brackets))


def test_an_idea_that_comes_back_says_why() -> None:
    came_back = 0
    for seed in range(2):
        game = Game(TASKS["shapes"], random.Random(seed))
        known: set[str] = set()
        for proposal, _, step in game.play(30):
            brackets = proposal.feedback.split("]")[0]
            if brackets in known:
                came_back += 1
                assert "since then" in proposal.feedback
            if step.verdict != "accepted":
                known.add(brackets)
    assert came_back > 0


def test_all_components_at_once() -> None:
    game = Game(TASKS["photos"], random.Random(0), all_components=True)
    for proposal, candidate, _ in game.play(6):
        assert proposal.component == "all"
        assert len(settings_in(proposal.feedback)[0]) == 3
        assert len(candidate.changed(game.pipeline)) == 3


def test_spends_unused_time_first_and_stays_below_the_limit() -> None:
    game = Game(TASKS["shapes"], random.Random(0))
    rows = [{"epoch": i + 1, "train_accuracy": 0.2 + 0.1 * i, "validation_accuracy": 0.2 + 0.1 * i} for i in range(4)]
    log = views.training_log(views.TrainingLog(rows, 4, 17, 0.2))
    _, wanted = settings_in(game.propose(log).feedback)
    assert 8 <= int(wanted["epochs"]) <= 0.8 * 20


def analysed(name: str, steps: list[views.Step], log: str = "") -> tuple[str, dict[str, Any]]:
    game = Game(TASKS[name], random.Random(0))
    game.steps += steps
    proposal = game.propose(log)
    return proposal.component, settings_in(proposal.feedback)[1]


def test_overfitting_calls_for_augmentation_or_regularisation() -> None:
    rows = [{"epoch": i + 1, "train_accuracy": 1.0, "validation_accuracy": 0.6} for i in range(20)]
    game = Game(TASKS["uneven"], random.Random(0))
    game.steps[0] = views.Step(0, "all", "a first pipeline", "accepted", 0.6)
    proposal = game.propose(views.training_log(views.TrainingLog(rows, 20, 24, 0.7)))
    assert "verfitting" in proposal.diagnosis
    assert proposal.component in ("data", "model")


def test_draws_the_consequence_of_a_timeout_before_any_score() -> None:
    game = Game(TASKS["shapes"], random.Random(0))
    game.steps = [views.Step(0, "all", "a first pipeline", "failed", reason="timeout: no epoch ended")]
    before = find(TrainingRecipe, game.pipeline.training)
    proposal = game.propose("")
    assert before is not None
    assert proposal.component == "training"
    assert int(settings_in(proposal.feedback)[1]["epochs"]) < before.epochs


def test_a_repair_falls_back_to_something_simpler() -> None:
    source = '"""A network."""\n\n# recipe: {"family": "pretrained", "name": "tf_efficientnet_lite0", "frozen": 0.5}\n'
    error = Failure(Reason.SHAPE, "mat1 and mat2", "model", "Traceback")
    prompt = PROMPTS.render(
        "model_engineer", component="model", sources={"model": source}, plan="", error=error, fresh=False,
        feedback="[unfreeze frozen=0.2] Let more layers learn.", **TASKS["photos"],
    )  # fmt: skip
    recipe = find(ModelRecipe, component_source(ask(prompt), "model"))
    assert recipe is not None
    assert recipe.family == "plain"


def test_a_first_pipeline_that_failed_is_followed_by_a_smaller_one() -> None:
    error = Failure(Reason.TIMEOUT, "no epoch ended within 90 s")
    prompt = PROMPTS.render("architect", unified=True, error=error, **TASKS["photos"])
    _, pipeline = whole_pipeline(ask(prompt))
    assert pipeline.hashes() != first(TASKS["photos"]).hashes()
    training, model = find(TrainingRecipe, pipeline.training), find(ModelRecipe, pipeline.model)
    assert training is not None
    assert model is not None
    assert (training.epochs, model.family) == (1, "plain")


def test_understands_feedback_and_sources_of_others() -> None:
    prompt = PROMPTS.render(
        "training_engineer", component="training", sources={"training": "batch_size = 8"}, plan="", error=None,
        feedback="Train for 17 epochs with a one-cycle schedule, a learning rate of 0.02 and batch size 48.",
        **TASKS["tiny"],
    )  # fmt: skip
    recipe = find(TrainingRecipe, component_source(ask(prompt), "training"))
    assert recipe is not None
    assert (recipe.epochs, recipe.schedule, recipe.lr, recipe.batch_size) == (17, "onecycle", 0.02, 48)
    prompt = PROMPTS.render(
        "data_engineer", component="data", sources={}, plan="", error=None,
        feedback="Add MixUp and remove the horizontal flip.", **TASKS["photos"],
    )  # fmt: skip
    data = find(DataRecipe, component_source(ask(prompt), "data"))
    assert data is not None
    assert data.mixup > 0
    assert not data.flip


def test_says_that_it_is_no_language_model() -> None:
    plan = ask(PROMPTS.render("architect", unified=False, error=None, **TASKS["photos"]))
    assert "rule-based" in plain_text(plan, 4000)
    assert "```" not in plan
    assert "rule-based" in Game(TASKS["tiny"], random.Random(0)).propose("").diagnosis


@pytest.mark.parametrize("verdict", ["accepted", "rejected", "rejected (within noise)", "failed"])
def test_summaries_hold_no_numbers(verdict: str) -> None:
    step = {"iteration": 3, "component": "training", "feedback": "[one-cycle lr=0.01] Use …", "verdict": verdict}
    text = ask(PROMPTS.render("summarizer", step=views.dump({**step, "failure": "timeout: 60 s"}), diff=""))
    assert "one cycle" in text
    assert not re.search(r"\d", text)


@pytest.mark.parametrize("cut", [10, 20, 30, 45, 60])
def test_reads_ideas_that_the_history_cut_short(cut: int) -> None:
    text = "[one-cycle schedule=onecycle lr=0.015 warmup=0.25 epochs=14] Training accuracy ended at 50%."
    names, found = settings_in(text[:cut])
    whole = settings_in(text)[1]
    assert names == ("one-cycle",)
    assert found.items() <= whole.items()


WORDS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30))
YAML = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
KEYS = (
    "description", "classes", "counts", "images_per_class", "image", "fit_seconds", "train_images", "threads",
    "hardware", "num_classes", "pretrained", "time_used", "epochs", "planned_epochs", "epochs_that_fit", "rows",
)  # fmt: skip
STEP = st.fixed_dictionaries(
    {},
    optional={
        "iteration": WORDS, "component": st.sampled_from(["data", "model", "training", "all", "?"]) | WORDS,
        "tried": st.sampled_from(["[one-cycle epochs=nan lr=-1 widths=0-]", "[x", "[a b=c]"]) | WORDS,
        "verdict": st.sampled_from(["accepted", "rejected", "failed", "rejected (within noise)"]) | WORDS,
        "accuracy": WORDS, "reason": WORDS,
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    role=st.sampled_from(["Project Architect", "Model Engineer", "Data Engineer", "Training Engineer", "Cook",
                          "Performance Analyst", "Summarizer"]),
    card=st.dictionaries(st.sampled_from(KEYS), YAML, max_size=8) | YAML,
    context=st.dictionaries(st.sampled_from(KEYS), YAML, max_size=8) | YAML,
    log=st.dictionaries(st.sampled_from(KEYS), YAML, max_size=6),
    history=st.lists(STEP, max_size=6) | YAML,
    loose=st.text(max_size=200),
    recipe=st.dictionaries(st.sampled_from(["lr", "widths", "epochs", "family", "name", "size", "shift"]), YAML),
)  # fmt: skip
def test_answers_any_prompt(
    role: str, card: Any, context: Any, log: Any, history: Any, loose: str, recipe: Any
) -> None:
    blocks = {"dataset card": card, "context": context, "training log": log, "history": history, "step": context}
    user = loose + "".join(f"\n```yaml\n# {name}\n{yaml.safe_dump(value)}\n```\n" for name, value in blocks.items())
    for name in COMPONENTS:
        user += f"\n```python\n# present {name}.py\n# recipe: {json.dumps(recipe)}\n```\n"
    system = f"You are the {role} of IMPROVE, a team."
    reply = answer(system, user)
    assert reply.strip()
    assert reply == answer(system, user)
    if role == "Performance Analyst":
        assert json_object(reply, Proposal).feedback
    for component, engineer in ENGINEER_OF.items():
        if engineer == role.lower().replace(" ", "_"):
            assert REQUIRED[component] <= defined(component_source(reply, component))


@settings(max_examples=50, deadline=None)
@given(system=st.text(max_size=100), user=st.text(max_size=300))
def test_answers_any_text(system: str, user: str) -> None:
    assert answer(system, user).strip()
