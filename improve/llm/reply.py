"""An answered call: its text made safe to keep, why it ended, what it used and what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from improve.config.schema import LLMConfig
from improve.llm.secrets import redact
from improve.spending.prices import price_of

MAX_TEXT = 200_000  # characters; the rest of a longer reply is dropped, and it counts as cut off
NOTHING = {"input": 0, "cached": 0, "reasoning": 0, "output": 0}

# Why a reply ended, where it matters; else what the provider said ("stop").
LENGTH = "length"  # cut off: never read
REFUSED = "refused"  # the provider declined; the text says why
CONTEXT = "context"  # the prompt was too long for the model; the text says so
EMPTY = "empty"
UNREADABLE = "unreadable"  # replies broke off, again and again: paid, and never read
UNANSWERED = "unanswered"  # nobody answered for as long as was waited; nothing was paid
FENCE = "```"


@dataclass(frozen=True)
class Reply:
    """`usd` is None where the cost is not known; `seconds` is wall time, with retries.

    Tokens and cost hold the replies that broke off (`unread` of them), each at its worst case, since nobody knows more.
    """

    text: str
    finish_reason: str
    tokens: dict[str, int]  # input (cached included), cached, reasoning, output (reasoning included)
    usd: float | None
    seconds: float
    retries: dict[str, int] = field(default_factory=dict)  # how often a try failed, by HTTP status ("none": no answer)
    unread: int = 0
    said: str = ""  # what people should know of the call


def declined(reason: str, text: str, usd: float | None, seconds: float) -> Reply:
    """A call that the provider answered with nothing but a reason."""
    return Reply(text, reason, dict(NOTHING), usd, round(seconds, 3))


def read(
    config: LLMConfig, response: Any, listed: dict[str, Any], seconds: float, schema: Mapping[str, Any] | None = None
) -> Reply:
    """litellm's response as a `Reply`. `listed` are litellm's prices, `schema` is that of the answer, if it is JSON."""
    tokens = _tokens(getattr(response, "usage", None))
    price = price_of(config, listed, tokens["input"])
    # No call is without tokens: a server that counts none leaves the cost unknown.
    usd = price.usd(tokens) if price and tokens["input"] + tokens["output"] else None
    text, reason = _content(response.choices, schema)
    text = redact(text, config.api_key_env)
    if len(text) > MAX_TEXT:
        text, reason = text[:MAX_TEXT], LENGTH
    return Reply(text, reason, tokens, usd, round(seconds, 3))


def _content(choices: Any, schema: Mapping[str, Any] | None) -> tuple[str, str]:
    if not choices:
        return "", EMPTY
    message, reason = choices[0].message, choices[0].finish_reason or ""
    text = message.content if isinstance(message.content, str) else ""
    if not text.strip() and reason != LENGTH:
        text = _answer_in(str(getattr(message, "reasoning_content", None) or ""), schema)
    # An escaped half of a surrogate pair is legal JSON, but no text that a file could hold.
    text = text.encode("utf-8", errors="replace").decode()
    refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal") or getattr(
        message, "refusal", None
    )
    if reason == "content_filter" or (refusal and not text.strip()):
        return str(refusal or text or "the provider's content filter stopped the reply."), REFUSED
    return text, reason if text.strip() or reason == LENGTH else EMPTY


def _answer_in(thoughts: str, schema: Mapping[str, Any] | None) -> str:
    """The answer that a server took for thoughts: an object with the schema's properties, or code blocks; else ""."""
    if schema is None:
        return thoughts if FENCE in thoughts else ""
    required = [f'"{name}"' for name in schema.get("required", ())]
    objects = re.search(r"\{.*\}", thoughts, re.DOTALL)
    return objects[0] if objects and all(name in objects[0] for name in required) else ""


def _tokens(usage: Any) -> dict[str, int]:
    def number(group: Any, name: str) -> int:
        return getattr(group, name, 0) or 0

    return {
        "input": number(usage, "prompt_tokens"),
        "cached": number(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
        "reasoning": number(getattr(usage, "completion_tokens_details", None), "reasoning_tokens"),
        "output": number(usage, "completion_tokens"),
    }
