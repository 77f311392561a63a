"""Values of the group `llm` that are out of range or do not go together."""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import urlsplit

from improve.config.check_value import check_value
from improve.config.keys import keys, value_of
from improve.config.schema import LLMConfig
from improve.errors import ConfigError

REPLAY_PROVIDER = "replay"  # of a model whose replies come from a cassette
# What `llm.parameters` may not hold: what has a key of its own, what would change the kind of reply, and secrets.
OWN_PARAMETERS = (
    "api_base", "base_url", "max_completion_tokens", "max_retries", "max_tokens", "messages", "model", "n",
    "num_retries", "reasoning_effort", "response_format", "seed", "stream", "temperature", "timeout", "tools",
)  # fmt: skip
ENDPOINT = re.compile(r"/+(?:chat/completions|completions|responses|models|messages)/*$")
SECRET_PARAMETER = re.compile(r"key|secret|password|token$|headers|authorization", re.IGNORECASE)


def check_llm(llm: LLMConfig) -> None:
    """Raises `ConfigError` naming the key, and the option, because each role may have one of its own."""

    def refuse(what: str, fix: str) -> NoReturn:
        raise ConfigError(f"llm={llm.name}: {what}", fix)

    for each in keys(LLMConfig, "llm."):
        check_value(each, value_of(llm, each.name.removeprefix("llm.")), f"llm={llm.name}: ")
    replays = llm.model.startswith(REPLAY_PROVIDER + "/")
    if replays and not llm.cassette:
        refuse("llm.cassette is missing.", "add llm.cassette=RUN, a run's folder or a file of `improve cassette`")
    if llm.cassette and not replays:
        refuse(f"llm.cassette={llm.cassette} needs llm=replay.", "use llm=replay, or leave it away")
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
        root = ENDPOINT.sub("", llm.api_base)
        if root != llm.api_base:
            refuse(f"llm.api_base={llm.api_base} is the address of one call, not of the API.", f"llm.api_base={root}")
    for name in llm.parameters:
        if name in OWN_PARAMETERS or SECRET_PARAMETER.search(name):
            refuse(f"llm.parameters may not hold {name!r}: improve sets it.", "see the keys of llm with --cfg job")
