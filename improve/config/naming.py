"""The name of a run, by which the same command finds it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from improve.config.decisive import settings
from improve.config.llm_names import llm_title
from improve.config.schema import Config, LLMConfig

# Keys of a role's model that came when runs had names already.
LATER = ("provider", "system_role", "limit_parameter")


def run_name(config: Config, by_option: bool = False) -> str:
    """A stable name: the same command finds its run again, another setting gets another folder.

    It depends on what differs from the schema's defaults: a later version that has more keys finds the run, too.
    `by_option`: the model is called after its option alone, as it was in earlier versions.
    """
    given = _given(_as_named_before(settings(config)), settings(Config()))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:6]
    protocol = () if config.protocol == "honest" else (config.protocol,)
    llm = config.llm.name if by_option else llm_title(config.llm.name, config.llm.model)
    parts = (config.dataset.name, config.strategy.name, llm, f"seed{config.seed}", *protocol, digest)
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)


def _as_named_before(values: dict[str, Any]) -> dict[str, Any]:
    """The settings as names have always held them: models by their full names, of roles' models what is no default."""
    roles = {role: _without_later_keys(llm) for role, llm in values["role_llms"].items()}
    return {**values, "llm": _with_full_name(values["llm"]), "role_llms": roles}


def _with_full_name(llm: dict[str, Any]) -> dict[str, Any]:
    provider, model = llm["provider"], llm["model"]
    full = model if provider is None or "/" in model else f"{provider}/{model}"
    return {**llm, "model": full, "provider": None}


def _without_later_keys(llm: dict[str, Any]) -> dict[str, Any]:
    """A role's model, whose settings go into a name whole: without the defaults of keys that came later."""
    defaults = dataclasses.asdict(LLMConfig())
    return {key: value for key, value in _with_full_name(llm).items() if key not in LATER or value != defaults[key]}


def _given(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults, without the groups in which all are."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        default = defaults.get(key)
        kept = _given(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
        if value != default:
            given[key] = kept
    return given
