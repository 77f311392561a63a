"""What a call sends, for chat models and for models that reason before they write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.llm.library import FREE, takes
from improve.llm.manners import FORMAT, LIMITS, SYSTEM, Manners

BYTES_PER_TOKEN = 3  # of English and Python; real tokenizers need 3.3 to 4.5, so this errs towards more tokens
ADJUSTABLE = (*LIMITS, "reasoning_effort", "temperature", "seed")
LEAST_OUTPUT = 256  # tokens; a reply with fewer is not worth asking for


def build(
    config: LLMConfig, model: str, prompt: Prompt, schema: Mapping[str, Any] | None, manners: Manners, seed: int
) -> dict[str, Any]:
    """litellm's arguments, as this server wants to be asked."""
    request: dict[str, Any] = {
        **config.parameters,
        "model": model,
        "messages": _messages(prompt, manners.system_role),
        # Retries are ours (tenacity), so that they are counted and capped in one place.
        "max_retries": 0,
        "num_retries": 0,
    }
    # A reasoning model's limit holds for its thoughts, too, and has a name of its own.
    if manners.limit:
        request[manners.limit] = output_limit(config, prompt, manners.context)
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
    if schema is not None and manners.structured != "text" and takes(model, FORMAT):
        request[FORMAT] = _response_format(schema, manners.structured)
    request = {name: value for name, value in request.items() if name not in manners.without}
    if model.startswith(FREE):
        # litellm knows models by their names, and here a name says nothing: the server itself says what it takes.
        request["allowed_openai_params"] = [name for name in request if name in ADJUSTABLE]
        if LIMITS[1] in request:  # litellm would send it by both names
            request["extra_body"] = {LIMITS[1]: request.pop(LIMITS[1])}
    return request


def _messages(prompt: Prompt, system_role: bool) -> list[dict[str, str]]:
    if not system_role:
        return [{"role": "user", "content": f"{prompt.system}\n{prompt.user}"}]
    return [{"role": SYSTEM, "content": prompt.system}, {"role": "user", "content": prompt.user}]


def adjustable(config: LLMConfig, request: Mapping[str, Any]) -> list[str]:
    """What of a request a server may refuse by name without refusing the call."""
    sent = {**request, **request.get("extra_body", {})}
    names = [name for name in sent if name in (*ADJUSTABLE, FORMAT) or name in config.parameters]
    return [*names, SYSTEM] if len(request["messages"]) > 1 else names


def _response_format(schema: Mapping[str, Any], structured: str) -> dict[str, Any]:
    if structured == "json_object":
        return {"type": "json_object"}
    name = str(schema.get("title", "reply")).lower()
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": dict(schema)}}


def estimated_tokens(prompt: Prompt) -> int:
    """Tokens of a prompt, rather too many than too few."""
    return len((prompt.system + prompt.user).encode()) // BYTES_PER_TOKEN + 16


def output_limit(config: LLMConfig, prompt: Prompt, context: int | None = None) -> int:
    """Tokens that the reply may have: as configured, less what a small context leaves no room for.

    `context`: the limit of prompt and reply together that the server named, if it did.
    """
    known = min((limit for limit in (config.context_tokens, context) if limit is not None), default=None)
    if known is None:
        return config.max_output_tokens
    return min(config.max_output_tokens, max(LEAST_OUTPUT, known - estimated_tokens(prompt)))
