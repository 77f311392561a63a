"""The name of a run, by which the same command finds it again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from improve.config.decisive import settings
from improve.config.schema import Config


def run_name(config: Config) -> str:
    """A stable name: the same command finds its run again, another setting gets another folder.

    It depends on what differs from the schema's defaults: a later version that has more keys finds the run, too.
    """
    given = _given(settings(config), settings(Config()))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:6]
    protocol = () if config.protocol == "honest" else (config.protocol,)
    parts = (config.dataset.name, config.strategy.name, config.llm.name, f"seed{config.seed}", *protocol, digest)
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)


def _given(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults, without the groups in which all are."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        default = defaults.get(key)
        kept = _given(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
        if value != default:
            given[key] = kept
    return given
