"""What the analyst and the engineers are shown of a run beside the history."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from improve.agents import views
from improve.agents.brief import shown_context
from improve.agents.prompts import PromptSet

CONTEXT = {
    "hardware": "2 CPU cores, no GPU", "threads": 1, "fit_seconds": 60.0, "steps": 0, "train_images": 1000,
    "devices": 1, "height": 128, "width": 128, "channels": 3, "classes": ["a", "b"], "images_per_class": [500, 500],
    "required_model": "", "pretrained": {}, "accelerator": "cpu",
}  # fmt: skip
FIXED = {"card": "name: x", "context": "fit_seconds: 60", "all_components": False}


@given(st.text(), st.integers(10, 60))
def test_texts_are_cut_at_words_and_say_so(text: str, length: int) -> None:
    short = views.shortened(text, length)
    assert len(short) <= length
    assert short == text or (short.endswith(" …") and text.startswith(short.removesuffix(" …")))
    assert views.shortened("use a one-cycle schedule", 20) == "use a one-cycle …"


def test_the_analyst_sees_why_a_change_was_rejected_and_how_long_it_was_trained() -> None:
    step = views.Step(
        3, "data", "more shifts", "rejected", 0.8, 0.9, 0.79, steps=1200, used_share=0.93,
        evidence="12 images won, 20 lost; -0.8 points (p = 0.9)",
    )  # fmt: skip
    (shown,) = yaml.safe_load(views.history([step], 1))
    assert shown["evidence"].startswith("12 images won, 20 lost")
    assert (shown["steps"], shown["time_used"]) == (1200, "about 90% of the limit")
    assert "steps: 1200" in views.training_log(views.TrainingLog([{"epoch": 0.4}], 0.4, 0.43, 0.7, 1200))


def test_the_worst_classes_and_the_most_frequent_confusions_are_named() -> None:
    shown = yaml.safe_load(views.mistakes(np.array([[9, 1, 0], [4, 6, 0], [0, 0, 0]]), ["cat", "dog", "owl"]))
    assert shown["worst_classes"] == {"owl": "0% of 1 right", "dog": "60% of 10 right", "cat": "90% of 10 right"}
    assert shown["taken_for"] == ["dog for cat: 4", "cat for dog: 1"]
    prompts = PromptSet("improve")
    given_to = {"history": "[]", "log": "rows: []", "sources": {}}
    assert "taken_for" in prompts.render("analyst", **given_to, mistakes="taken_for: x", **FIXED).user
    assert "gets wrong" not in prompts.render("analyst", **given_to, **FIXED).user


def test_engineers_see_the_training_of_what_they_revise() -> None:
    asked = {"component": "data", "sources": {}, "plan": "", "feedback": "f", "error": None, "fresh": False}
    prompts = PromptSet("improve")
    assert "steps: 7" in prompts.render("data_engineer", **asked, log="steps: 7", **FIXED).user
    assert "log of the present" not in prompts.render("data_engineer", **asked, **FIXED).user


def test_the_summarizer_of_a_first_pipeline_is_not_asked_for_a_comparison() -> None:
    prompts = PromptSet("improve")
    first = prompts.render("summarizer", step="{verdict: accepted}", diff="", **FIXED)
    assert "```diff" not in first.user
    assert "compared with nothing" in first.user
    failed = prompts.render("summarizer", step="verdict: failed\nfailure: 'nan: x'", diff="", **FIXED)
    assert "has no score" in failed.user
    assert "```diff" in prompts.render("summarizer", step="{}", diff="+ x", **FIXED).user


def test_every_duty_ends_its_line() -> None:
    asked = {"component": "data", "sources": {}, "plan": "", "feedback": "f", "error": None, "fresh": False}
    for role in ("data_engineer", "model_engineer", "training_engineer"):
        assert "stay as they are.\n" in PromptSet("improve").render(role, **asked, **FIXED).system  # type: ignore[arg-type]


@pytest.mark.parametrize("prompts", ["improve", "minimal", "small"])
def test_networks_that_can_be_fetched_are_told_only_where_they_can(prompts: str) -> None:
    offered = {"convnext_atto.d2_in1k": "4 M, 77%"}
    there, nowhere = (shown_context(CONTEXT, {}, some) for some in (offered, None))
    assert yaml.safe_load(there)["pretrained_on_demand"] == offered
    for context, told in ((there, prompts != "small"), (nowhere, False)):
        fixed = {**FIXED, "context": context}
        text = PromptSet(prompts).render("architect", unified=True, error=None, **fixed).user
        assert ("Any other model of timm may be named" in text) is told
        assert "context below" not in text


def test_speeds_grow_with_the_image_and_are_those_of_a_cpu() -> None:
    speeds = yaml.safe_load(shown_context(CONTEXT, {}))["cpu_ms_per_image"]
    assert speeds["efficientnet_lite0"] == 30
    assert speeds["resnet18"] == 40
    small = yaml.safe_load(shown_context({**CONTEXT, "height": 8, "width": 8}, {}))["cpu_ms_per_image"]
    assert list(small) == ["3x3 convolutions 32-64-128"]
    assert "cpu_ms_per_image" not in shown_context({**CONTEXT, "accelerator": "gpu"}, {})
