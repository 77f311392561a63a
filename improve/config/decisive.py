"""Which part of the configuration decides what a run computes, and which only shows, places or ends it."""

from __future__ import annotations

import dataclasses
from typing import Any

from improve.config.schema import Config
from improve.domain import Split

# Keys that change where things go, how they look or when a run ends early, but not what its steps compute.
PRESENTATION = (
    "display", "tracking", "study", "outputs", "run_dir", "cache_dir", "budget", "dry_run", "retry_failed",
)  # fmt: skip
RATES = ("requests_per_minute", "tokens_per_minute")  # of the group llm: how fast models are asked
# Of executor.ray: which nodes there are, and how they are held. What a training has there decides results.
CLUSTER = ("address", "cache_dir", "cache_gib", "wait_seconds", "retries", "idle_seconds")


def settings(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides what a run computes, as plain values."""
    values = {key: value for key, value in dataclasses.asdict(config).items() if key not in PRESENTATION}
    for llm in (values["llm"], *values["role_llms"].values()):
        for key in RATES:
            del llm[key]
    for key in CLUSTER:
        del values["executor"]["ray"][key]
    return values


def selection_split(config: Config) -> Split:
    """The split whose images decide verdicts."""
    return "test" if config.protocol == "paper" else "selection"
