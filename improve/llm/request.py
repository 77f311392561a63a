"""What a call sends, for chat models and for models that reason before they write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from improve.config.schema import STRUCTURED, LLMConfig
from improve.domain import Prompt
from improve.llm.library import takes

BYTES_PER_TOKEN = 3  # of English and Python; real tokenizers need 3.3 to 4.5, so this errs towards more tokens
LEAST_OUTPUT = 256  # tokens; a reply with fewer is not worth asking for


def build(
    config: LLMConfig, model: str, prompt: Prompt, schema: Mapping[str, Any] | None, structured: str, seed: int
) -> dict[str, Any]:
    """litellm's arguments. `structured` is how JSON is asked for, one of `config_llm.STRUCTURED`."""
    request: dict[str, Any] = {
        **config.parameters,
        "model": model,
        "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        # Retries are ours (tenacity), so that they are counted and capped in one place.
        "max_retries": 0,
        "num_retries": 0,
    }
    # A reasoning model's limit holds for its thoughts, too, and has a name of its own.
    request["max_completion_tokens" if config.reasoning else "max_tokens"] = output_limit(config, prompt)
    if config.reasoning_effort:
        request["reasoning_effort"] = config.reasoning_effort
    if config.temperature is not None:
        request["temperature"] = config.temperature
    if config.send_seed and takes(model, "seed"):
        request["seed"] = seed
    if config.api_base:
        request["api_base"] = config.api_base
    if config.api_key_env:
        request["api_key"] = os.environ[config.api_key_env].strip()
    elif config.api_base:
        request["api_key"] = "none"  # litellm wants one, local servers do not
    if schema is not None and structured != "text" and takes(model, "response_format"):
        request["response_format"] = _response_format(schema, structured)
    return request


def _response_format(schema: Mapping[str, Any], structured: str) -> dict[str, Any]:
    if structured == "json_object":
        return {"type": "json_object"}
    name = str(schema.get("title", "reply")).lower()
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": dict(schema)}}


def simpler(structured: str) -> str | None:
    """The next way of asking for JSON, for a server that refused this one; None after the last."""
    at = STRUCTURED.index(structured) + 1
    return STRUCTURED[at] if at < len(STRUCTURED) else None


def estimated_tokens(prompt: Prompt) -> int:
    """Tokens of a prompt, rather too many than too few."""
    return len((prompt.system + prompt.user).encode()) // BYTES_PER_TOKEN + 16


def output_limit(config: LLMConfig, prompt: Prompt) -> int:
    """Tokens that the reply may have: as configured, less what a small context leaves no room for."""
    if config.context_tokens is None:
        return config.max_output_tokens
    return min(config.max_output_tokens, max(LEAST_OUTPUT, config.context_tokens - estimated_tokens(prompt)))
