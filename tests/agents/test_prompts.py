"""Prompt sets: found, checked when opened, extended by an own folder; the bounded history; `prompts show`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve import cli
from improve.agents import views
from improve.agents.prompts import DEFAULT, PromptSet
from improve.domain import Role
from improve.errors import ConfigError
from improve.pipeline.contract import MAX_SOURCE
from improve.spending.worst_case import usual_tokens

TECHNIQUES = re.compile(
    r"mixup|cutmix|convnext|efficientnet|nesterov|one-?cycle|smoothing|trivialaug|cosine|adamw", re.I
)


def folder_with(tmp_path: Path, **texts: str) -> str:
    for name, text in texts.items():
        (tmp_path / f"{name}.j2").write_text(text, encoding="utf-8")
    return str(tmp_path)


def text_of(role: str) -> str:
    return (DEFAULT / f"{role}.j2").read_text(encoding="utf-8")


def test_a_folder_needs_only_the_texts_that_differ(tmp_path: Path) -> None:
    own = PromptSet("mine", folder_with(tmp_path, _team="You are the {{ title }} of a circus."))
    prompt = own.render("summarizer", step="s", diff="d")
    assert prompt.system.startswith("You are the Summarizer of a circus.")
    assert own.hash() != PromptSet("improve").hash()


def test_the_shipped_texts_count_in_the_hash_of_an_own_set(tmp_path: Path) -> None:
    same = PromptSet("mine", folder_with(tmp_path, summarizer=text_of("summarizer")))
    assert same.hash() == PromptSet("improve").hash()


def test_an_unknown_variable_is_refused_naming_file_and_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"summarizer\.j2.*'dif'(.|\n)*diff"):
        PromptSet("mine", folder_with(tmp_path, summarizer=text_of("summarizer").replace("diff |", "dif |")))


def test_an_unknown_variable_in_an_included_text_names_that_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"_task\.j2.*'kontext'"):
        PromptSet("mine", folder_with(tmp_path, _task="{{ kontext }}"))


def test_a_role_that_is_never_shown_what_it_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"analyst\.j2.*'history'"):
        PromptSet("mine", folder_with(tmp_path, analyst=text_of("analyst").replace("history | trim", "log | trim")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{% if %}", r"analyst\.j2"), ("no separator {{ history }} {{ log }} {{ sources }} {{ context }}", "---user---")],
)
def test_a_faulty_text_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        PromptSet("mine", folder_with(tmp_path, analyst=text))


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prompts"):
        PromptSet("mine", str(tmp_path))


def test_the_minimal_set_names_no_technique(capsys: pytest.CaptureFixture[str]) -> None:
    for role in ("data_engineer", "model_engineer", "training_engineer", "architect"):
        minimal, full = (rendered(role, prompts, capsys) for prompts in ("minimal", "improve"))
        assert TECHNIQUES.search(full), role
        assert not TECHNIQUES.search(minimal), role


def rendered(role: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `improve prompts show` prints, less the example's sources and the names of weights at hand."""
    assert cli.main(["prompts", "show", role, "dataset=digits", f"prompts={prompts}"]) == 0
    text = capsys.readouterr().out
    text = re.sub(r"# present \w+\.py.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"pretrained_weights:\n(?:[- ] .*\n)+", "", text)
    return re.sub(r"pretrained: \[.*?\]", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("prompts", ["improve", "minimal", "small"])
def test_every_role_can_be_shown(prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    for role in get_args(Role):
        assert "# User" in rendered(role, prompts, capsys)


def test_an_own_folder_is_chosen_like_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_with(tmp_path, _team="You are the {{ title }} of a circus.")
    assert "of a circus" in rendered("analyst", str(tmp_path), capsys)


def test_an_unknown_role_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prompts", "show", "analist"]) == ConfigError.exit_code
    assert "did you mean analyst" in capsys.readouterr().err


steps = st.builds(
    views.Step,
    iteration=st.integers(0, 999),
    component=st.sampled_from(["data", "model", "training"]),
    tried=st.text(max_size=600),
    verdict=st.sampled_from(["accepted", "rejected", "failed"]),
    accuracy=st.none() | st.floats(0, 1),
    reason=st.text(max_size=900),
    note=st.text(max_size=900),
)


@settings(deadline=None)  # YAML is slow on a busy machine
@given(st.lists(steps, max_size=8), st.integers(0, 12))
def test_the_history_is_bounded_whatever_it_holds(few: list[views.Step], full: int) -> None:
    for history in (few, few * 20):
        shown = views.history(history, full)
        assert len(shown) <= views.HISTORY_LENGTH + 60
        if history and len(shown) < views.HISTORY_LENGTH / 2:
            assert f"iteration: {history[-1].iteration}" in shown


def test_the_oldest_rejected_steps_are_left_out_first() -> None:
    history = [
        views.Step(i, "data", "x" * 220, "accepted" if i == 3 else "rejected", 0.5, note="y" * 300) for i in range(100)
    ]
    shown = views.history(history, 12)
    assert "iteration: 3," in shown
    assert "iteration: 99," in shown
    assert "iteration: 0," not in shown
    assert "older steps are left out" in shown


def test_a_run_may_forgo_pretrained_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prompts", "show", "architect", "dataset=digits", "executor.pretrained=false"]) == 0
    assert "pretrained: []" in capsys.readouterr().out


def test_a_training_that_saw_a_part_of_the_images_is_told_as_such() -> None:
    rows = [{"epoch": 1, "train_loss": 3.5}]
    assert "less than 1: the training saw only a part" in views.training_log(views.TrainingLog(rows, 1, 0, 0.9))
    assert "about 0.4: the training saw only a part" in views.training_log(views.TrainingLog(rows, 0.4, 0.43, 0.9))
    assert "about 1" in views.training_log(views.TrainingLog(rows, 1, 1, 0.9))


MOST_TOKENS = 30_000  # of a prompt: README


def test_a_prompt_stays_small_whatever_the_iterations() -> None:
    steps = [views.Step(i, "model", "x" * 900, "rejected", 0.5, 0.5, 0.5, "y" * 900, "z" * 900) for i in range(400)]
    rows = [{"epoch": i, "train_loss": 0.123456, "validation_accuracy": 0.123456} for i in range(500)]
    log = views.training_log(views.TrainingLog(rows, 500, 500, 0.5))
    sources = dict.fromkeys(("data", "model", "training"), "s" * MAX_SOURCE)
    prompt = PromptSet("improve").render(
        "analyst", card="c" * 4000, context="d" * 1000, history=views.history(steps, 12), log=log, sources=sources,
        all_components=False,
    )  # fmt: skip
    assert usual_tokens(prompt.system + prompt.user) < MOST_TOKENS
