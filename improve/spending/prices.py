"""What a call costs: prices from the configuration or litellm's offline list; unknown is None, never 0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig

MILLION = 1_000_000
DEARER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


@dataclass(frozen=True)
class Price:
    """US dollars for one token."""

    input: float
    cached: float  # input that the provider had from an earlier call
    output: float
    reasoning: float

    def usd(self, tokens: Mapping[str, int]) -> float:
        """The cost of a call. `tokens` as in `Reply.tokens`: cached is a part of input, reasoning a part of output."""
        cached = min(tokens["cached"], tokens["input"])
        reasoning = min(tokens["reasoning"], tokens["output"])
        return (
            (tokens["input"] - cached) * self.input
            + cached * self.cached
            + (tokens["output"] - reasoning) * self.output
            + reasoning * self.reasoning
        )


def price_of(config: LLMConfig, listed: Mapping[str, Any], input_tokens: int = 0) -> Price | None:
    """The price of the configured model for a prompt of `input_tokens`; None if nobody knows it.

    `listed` is litellm's list, model name → entry. The configuration's own price comes first.
    """
    given, written = config.usd_per_million_input, config.usd_per_million_output
    if given is not None and written is not None:
        cached = config.usd_per_million_cached_input
        output = written / MILLION
        return Price(given / MILLION, (given if cached is None else cached) / MILLION, output, output)
    entry = _entry(config, listed)
    return _of_entry(entry, input_tokens) if entry else None


def _entry(config: LLMConfig, listed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the list says of the model at its own provider; another server's model of that name has another price."""
    if config.api_base and not config.provider:
        return None
    full = f"{config.provider}/{config.model}" if config.api_base else asked_model(config)
    provider, slash, name = full.partition("/")
    if not slash:
        return listed.get(full)
    entry = listed.get(full) or listed.get(name)
    return entry if entry and entry.get("litellm_provider") == provider else None


def _of_entry(entry: Mapping[str, Any], input_tokens: int) -> Price | None:
    """Some providers ask more for prompts above a length; the list says so in keys of its own."""
    above = [int(match[1]) for match in map(DEARER.fullmatch, entry) if match and int(match[1]) * 1000 < input_tokens]
    suffix = f"_above_{max(above)}k_tokens" if above else ""

    def cost(key: str) -> float | None:
        value = entry.get(key + suffix)
        return float(value) if value else None

    fresh, output = cost("input_cost_per_token"), cost("output_cost_per_token")
    # The list holds 0 where a price is missing: unknown, not free.
    if fresh is None or output is None:
        return None
    cached = cost("cache_read_input_token_cost")
    return Price(fresh, fresh if cached is None else cached, output, cost("output_cost_per_reasoning_token") or output)
