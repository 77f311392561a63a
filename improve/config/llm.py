"""The part of the configuration that says which language model is asked, and how: the group `llm`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from improve.errors import ConfigError

REPLAY_PROVIDER = "replay"  # of a model whose replies come from a cassette
STRUCTURED = ("json_schema", "json_object", "text")
# What `llm.parameters` may not hold: what has a key of its own, what would change the kind of reply, and secrets.
OWN_PARAMETERS = (
    "api_base", "base_url", "max_completion_tokens", "max_retries", "max_tokens", "messages", "model", "n",
    "num_retries", "reasoning_effort", "response_format", "seed", "stream", "temperature", "timeout", "tools",
)  # fmt: skip
SECRET_PARAMETER = re.compile(r"key|secret|password|token$|headers|authorization", re.IGNORECASE)


@dataclass
class RolesConfig:
    """A model of its own for a role: the name of an option of conf/llm. None: the run's model (`llm=`)."""

    architect: str | None = None
    data_engineer: str | None = None
    model_engineer: str | None = None
    training_engineer: str | None = None
    analyst: str | None = None
    summarizer: str | None = None


@dataclass
class LLMConfig:
    name: str = "???"  # how run folders and tables call it
    model: str = "???"  # litellm's name, "provider/model"; behind api_base the model's own name is enough
    api_base: str | None = None  # URL of an OpenAI-compatible server
    api_key_env: str | None = None  # NAME of the environment variable that holds the key; never the key itself
    reasoning: bool = False  # it thinks before it writes: no temperature, the limit is sent as max_completion_tokens
    reasoning_effort: str | None = None  # low | medium | high …, as the provider names them; None: its default
    temperature: float | None = None  # None: the provider's default
    send_seed: bool = True  # send the run's seed with each call, where litellm knows that the provider takes one
    # How JSON is asked for: json_schema | json_object | text (by instruction alone). What the server refuses is
    # learnt at its first refusal, so this names the best that may work.
    structured: str = "json_schema"
    parameters: dict[str, Any] = field(default_factory=dict)  # further ones, as litellm names them: {top_p: 0.9}
    cassette: str | None = None  # llm=replay: folder of the run, or the file, whose replies are given again
    context_tokens: int | None = None  # limit of prompt and reply together; None: not known, the provider decides
    max_output_tokens: int = 8192  # limit of one reply, its reasoning included
    # US dollars for a million tokens; None: as litellm's list has it, else unknown (said so, never counted as 0).
    usd_per_million_input: float | None = None
    usd_per_million_cached_input: float | None = None  # None: as fresh input
    usd_per_million_output: float | None = None  # reasoning tokens are paid as output
    timeout_seconds: float = 600.0  # of one try
    retry_seconds: float = 900.0  # of one call: no further try begins and no wait ends after it
    retry_wait_seconds: float = 1.0  # before the first retry where the server names no time; doubles, up to 60
    roles: RolesConfig = field(default_factory=RolesConfig)


def check_llm(llm: LLMConfig) -> None:
    """Raises `ConfigError` naming the key, and the option, because each role may have one of its own."""

    def refuse(what: str, fix: str) -> NoReturn:
        raise ConfigError(f"llm={llm.name}: {what}", fix)

    for key, value, least in (
        ("timeout_seconds", llm.timeout_seconds, 0.1),
        ("retry_seconds", llm.retry_seconds, 0),
        ("retry_wait_seconds", llm.retry_wait_seconds, 0),
        ("max_output_tokens", llm.max_output_tokens, 16),
        ("usd_per_million_input", llm.usd_per_million_input, 0),
        ("usd_per_million_cached_input", llm.usd_per_million_cached_input, 0),
        ("usd_per_million_output", llm.usd_per_million_output, 0),
    ):
        if value is not None and value < least:
            refuse(f"llm.{key}={value} is too small.", f"use llm.{key}={least} or more")
    replays = llm.model.startswith(REPLAY_PROVIDER + "/")
    if replays and not llm.cassette:
        refuse("llm.cassette is missing.", "add llm.cassette=RUN, a run's folder or a file of `improve cassette`")
    if llm.cassette and not replays:
        refuse(f"llm.cassette={llm.cassette} needs llm=replay.", "use llm=replay, or leave it away")
    if llm.structured not in STRUCTURED:
        refuse(f"llm.structured={llm.structured} is not an option.", f"use one of {', '.join(STRUCTURED)}")
    if llm.context_tokens is not None and llm.context_tokens <= llm.max_output_tokens:
        refuse(
            f"llm.max_output_tokens={llm.max_output_tokens} leaves no room for a prompt in "
            f"llm.context_tokens={llm.context_tokens}.",
            "lower llm.max_output_tokens to a half of it or less",
        )
    if llm.reasoning and llm.temperature is not None:
        refuse("llm.temperature is set, but a model with llm.reasoning=true takes none.", "llm.temperature=null")
    if llm.reasoning_effort and not llm.reasoning:
        refuse("llm.reasoning_effort needs llm.reasoning=true.", "set it, or llm.reasoning_effort=null")
    if (llm.usd_per_million_input is None) != (llm.usd_per_million_output is None):
        refuse("only one of llm.usd_per_million_input and llm.usd_per_million_output is given.", "give both or none")
    # The value may be a key that somebody put in the wrong place: it is not repeated.
    if llm.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", llm.api_key_env):
        refuse(
            "llm.api_key_env is not the name of an environment variable.",
            "put the key into a variable, and that variable's name here: llm.api_key_env=OPENAI_API_KEY",
        )
    if llm.api_base is not None:
        parts = urlsplit(llm.api_base)
        if parts.username or parts.password:
            refuse("llm.api_base holds a user name or password.", "leave it out and use llm.api_key_env=VARIABLE")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            refuse(f"llm.api_base={llm.api_base} is not a web address.", "use http://HOST:PORT/v1")
    for name in llm.parameters:
        if name in OWN_PARAMETERS or SECRET_PARAMETER.search(name):
            refuse(f"llm.parameters may not hold {name!r}: improve sets it.", "see the keys of llm with --cfg job")
