"""A model that is no option of ours: what to type instead, and what its runs are called after."""

from __future__ import annotations

from pathlib import Path

import pytest

from improve.config.compose import config_from
from improve.config.listed import overrides_for
from improve.config.llm_names import asked_model, llm_title
from improve.config.naming import run_name
from improve.errors import ConfigError
from improve.record.folders import folder_of
from improve.record.journal import JOURNAL


@pytest.mark.parametrize(
    ("name", "model"),
    [("gpt5", "openai/gpt-5"), ("claude-sonnet-55", "anthropic/claude-sonnet-5-5"), ("o3mini", "openai/o3-mini")],
)
def test_an_unknown_option_tells_of_the_model_and_of_an_option_of_ones_own(name: str, model: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_from([f"llm={name}"])
    assert f"there is no llm={name}" in raised.value.what
    assert f"llm.model={model}" in raised.value.fix
    assert f"DIR/llm/{name}.yaml" in raised.value.fix
    assert "--config-dir DIR" in raised.value.fix
    # What is proposed works when it is pasted.
    assert asked_model(config_from(overrides_for(name).split()).llm) == model


def test_a_roles_unknown_option_tells_of_an_option_of_ones_own() -> None:
    with pytest.raises(ConfigError, match=r"DIR/llm/mine\.yaml"):
        config_from(["llm.roles.analyst=mine"])


@pytest.mark.parametrize(
    ("name", "model", "title"),
    [
        ("gpt-4o", "gpt-4o", "gpt-4o"),
        ("gpt-4o", "openai/gpt-4o", "gpt-4o"),  # as journals of earlier versions have it
        ("gpt-4o", "openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o", "openai/gpt-5", "gpt-5"),
        ("local", "qwen2.5-coder:7b", "qwen2.5-coder:7b"),
        ("local", "Qwen/Qwen2.5-Coder-7B", "Qwen2.5-Coder-7B"),
        ("local", "local", "local"),
        ("mine", "my/model", "mine"),
        ("offline", "offline/expert", "offline"),
        ("../x", "y", "../x"),
    ],
)
def test_runs_are_called_after_the_model_that_was_asked(name: str, model: str, title: str) -> None:
    assert llm_title(name, model) == title


def test_a_folder_of_an_earlier_version_is_found(tmp_path: Path) -> None:
    config = config_from(["llm=local", "llm.model=qwen2.5-coder:7b", f"outputs={tmp_path}"])
    assert "qwen2.5_coder_7b" in folder_of(config).name
    before = tmp_path / run_name(config, by_option=True)
    assert "-local-" in before.name
    before.mkdir()
    (before / JOURNAL).touch()
    assert folder_of(config) == before
    (tmp_path / run_name(config)).mkdir()
    assert folder_of(config).name == run_name(config)
