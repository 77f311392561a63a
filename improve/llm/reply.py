"""An answered call: its text made safe to keep, why it ended, what it used and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reply:
    """`usd` is None where the cost is not known; `seconds` is wall time, with retries."""

    text: str
    finish_reason: str
    tokens: dict[str, int]  # input (cached included), cached, reasoning, output (reasoning included)
    usd: float | None
    seconds: float


def declined(reason: str, text: str, usd: float | None, seconds: float) -> Reply:
    """A call that the provider answered with nothing but a reason."""
    return Reply(text, reason, dict(NOTHING), usd, round(seconds, 3))


def read(config: LLMConfig, response: Any, listed: dict[str, Any], seconds: float) -> Reply:
    """litellm's response as a `Reply`. `listed` are litellm's prices."""
    tokens = _tokens(getattr(response, "usage", None))
    price = price_of(config, listed, tokens["input"])
    # No call is without tokens: a server that counts none leaves the cost unknown.
    usd = price.usd(tokens) if price and tokens["input"] + tokens["output"] else None
    text, reason = _content(response.choices)
    text = redact(text, config.api_key_env)
    if len(text) > MAX_TEXT:
        text, reason = text[:MAX_TEXT], LENGTH
    return Reply(text, reason, tokens, usd, round(seconds, 3))


def _content(choices: Any) -> tuple[str, str]:
    if not choices:
        return "", EMPTY
    message, reason = choices[0].message, choices[0].finish_reason or ""
    text = message.content if isinstance(message.content, str) else ""
    # An escaped half of a surrogate pair is legal JSON, but no text that a file could hold.
    text = text.encode("utf-8", errors="replace").decode()
    refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal") or getattr(
        message, "refusal", None
    )
    if reason == "content_filter" or (refusal and not text.strip()):
        return str(refusal or text or "the provider's content filter stopped the reply."), REFUSED
    return text, reason if text.strip() or reason == LENGTH else EMPTY


def _tokens(usage: Any) -> dict[str, int]:
    def number(group: Any, name: str) -> int:
        return getattr(group, name, 0) or 0

    return {
        "input": number(usage, "prompt_tokens"),
        "cached": number(getattr(usage, "prompt_tokens_details", None), "cached_tokens"),
        "reasoning": number(getattr(usage, "completion_tokens_details", None), "reasoning_tokens"),
        "output": number(usage, "completion_tokens"),
    }
