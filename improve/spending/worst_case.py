"""What a call may cost at most, known before it is made, and what a model's price is without importing litellm.

That import takes seconds, and neither a budget's first check nor a dry run asks anybody: litellm's own table of prices
is read as the file that it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from improve.config.listed import listed
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.spending.prices import Price, price_of

CHARACTERS_A_TOKEN = 3.5  # of English text and Python
# What a provider may add to the tokens of the two texts: the marks around messages and the template's own words.
TOKENS_AROUND = 64


@dataclass(frozen=True)
class Most:
    """Tokens read and written, and USD; None where the price is not known."""

    tokens: int
    usd: float | None


NOTHING = Most(0, 0.0)


def most(config: LLMConfig, prompt: Prompt) -> Most:
    """The worst case of one answered call: a token for each byte of its prompt, a reply that reaches its limit."""
    read, written = within_context(config, most_input_tokens(prompt)), config.max_output_tokens
    price = known_price(config, read)
    usd = read * max(price.input, price.cached) + written * max(price.output, price.reasoning) if price else None
    return Most(read + written, usd)


def within_context(config: LLMConfig, tokens: int) -> int:
    """So many tokens, or as many as the model takes: a longer prompt is declined."""
    return tokens if config.context_tokens is None else min(tokens, config.context_tokens)


def most_input_tokens(prompt: Prompt) -> int:
    """The most tokens that a tokenizer makes of a prompt: each of them stands for at least one byte of UTF-8."""
    return _bytes(prompt.system) + _bytes(prompt.user) + TOKENS_AROUND


def usual_tokens(text: str) -> int:
    """About how many tokens a text has; an estimate, since each model counts in its own way."""
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


def known_price(config: LLMConfig, input_tokens: int = 0) -> Price | None:
    """The price of a model for a prompt of this length; None where it is not known, which is not the same as free."""
    return price_of(config, listed(), input_tokens)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
