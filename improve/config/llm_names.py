"""What a language model is called: for the server that is asked, in the journal, and in the names of runs."""

from __future__ import annotations

import functools

import yaml

from improve.config.places import CONF
from improve.config.schema import LLMConfig


def asked_model(llm: LLMConfig) -> str:
    """The model as journals and people are told it: the server's own name behind api_base, else litellm's."""
    if llm.api_base or not llm.provider or "/" in llm.model:  # an option of one provider may be given another's model
        return llm.model
    return f"{llm.provider}/{llm.model}"


def llm_title(name: str, model: str) -> str:
    """What runs are called after: the option's name, or the model's own where the option was given another model."""
    bare, own = model.rsplit("/", 1)[-1], _shipped_model(name)
    # A dated snapshot is the model itself.
    return name if own is None or bare in (own, "") or bare.startswith(f"{own}-20") else bare


@functools.cache
def _shipped_model(name: str) -> str | None:
    """The model of an option of ours; None if there is no such option."""
    file = CONF / "llm" / f"{name}.yaml"
    values = yaml.safe_load(file.read_text()) if "/" not in name and file.is_file() else {}
    return values.get("model", "").rsplit("/", 1)[-1] or None
