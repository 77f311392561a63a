"""The first prompt that a model sees holds all that it needs to begin, and leaves room: at most 3,000 tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from improve.commands.prompts import Preview
from improve.config.compose import config_from
from improve.pipeline.offered_weights import OFFERED
from improve.pipeline.supply import Supply
from improve.spending.worst_case import usual_tokens
from tests.support.photos import photos

MOST_TOKENS = 3_000


@pytest.mark.parametrize("role", ["architect", "zero_shot"])
@pytest.mark.parametrize("kind", ["digits", "photos"])
def test_the_first_prompt_is_short(role: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On photos with every network of the list on offer, besides the one at hand."""
    named = ["dataset=digits"]
    if kind == "photos":
        named = ["dataset=folder", f"dataset.path={photos(tmp_path / 'photos', 80)}", f"cache_dir={tmp_path / 'cache'}"]
        monkeypatch.setattr(Supply, "offered", lambda self: {one.name: one.said for one in OFFERED})
    prompt = Preview.of(config_from(named)).prompt(role)  # type: ignore[arg-type]
    assert ("pretrained_on_demand" in prompt.user) == (kind == "photos")
    assert 1_500 < usual_tokens(prompt.system + prompt.user) <= MOST_TOKENS
