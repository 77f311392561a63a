"""One tiny call to a model, to see whether a run could ask it."""

from __future__ import annotations

import dataclasses

from improve.config.llm_names import asked_model
from improve.domain import Prompt
from improve.llm import reply as replies
from improve.llm.client import Client

PROMPT = Prompt("You answer in one word.\n", "Write the word: ready\n")
TIMEOUT_SECONDS = 120.0  # a reasoning model, or a small machine that loads its model first
RETRY_SECONDS = 20.0
OUTPUT_TOKENS = 64
REASONING_TOKENS = 2048  # thoughts included


def trial(client: Client) -> tuple[bool, str]:
    """Asks for one word: whether words came, and a sentence on it. Raises `LLMError` where a run would stop."""
    config = client.config
    limit = min(config.max_output_tokens, REASONING_TOKENS if config.reasoning else OUTPUT_TOKENS)
    small = dataclasses.replace(
        config,
        max_output_tokens=limit,
        timeout_seconds=min(config.timeout_seconds, TIMEOUT_SECONDS),
        retry_seconds=min(config.retry_seconds, RETRY_SECONDS),
    )
    reply = Client(small, client.seed).ask(PROMPT)
    did = {
        replies.LENGTH: "answered up to the limit of this trial",
        replies.EMPTY: "answered with nothing",
        replies.REFUSED: f"declined to answer ({reply.text})",
        replies.CONTEXT: f"found the prompt too long ({reply.text})",
    }.get(reply.finish_reason, "answered")
    tokens = f"{reply.tokens['input']} input and {reply.tokens['output']} output tokens"
    cost = "price not known" if reply.usd is None else f"{reply.usd:.6f} USD"
    good = reply.finish_reason not in (replies.EMPTY, replies.REFUSED, replies.CONTEXT)
    return good, f"{config.name} ({asked_model(config)}) {did} in {reply.seconds:.1f} s: {tokens}, {cost}"
