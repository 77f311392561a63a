"""What a model costs, known before it is asked: litellm's own table of prices, read as a file.

litellm itself is not imported for it: that takes seconds, and a dry run asks nobody.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config import LLMConfig
from improve.prompts import Prompt

TABLE = "model_prices_and_context_window_backup.json"
# What a provider may add to the tokens of the two texts: the marks around messages and the template's own words.
TOKENS_AROUND = 64


@dataclass(frozen=True)
class Price:
    """USD for one token read and for one token written."""

    input: float
    output: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return self.input * tokens_in + self.output * tokens_out


FREE = Price(0.0, 0.0)


def price_of(config: LLMConfig) -> Price | None:
    """The price of a model; None where it is not known (which is never the same as free)."""
    if config.model.startswith(("offline/", "replay/")):
        return FREE
    table = _table()
    entry = table.get(config.model) or table.get(config.model.split("/", 1)[-1]) or {}
    price = Price(float(entry.get("input_cost_per_token") or 0.0), float(entry.get("output_cost_per_token") or 0.0))
    # The table has 0 for models whose price it lacks: unknown, not free.
    return price if price.input > 0 or price.output > 0 else None


def most_input_tokens(prompt: Prompt) -> int:
    """The most tokens that a tokenizer makes of a prompt: each of them stands for at least one byte of UTF-8."""
    return _bytes(prompt.system) + _bytes(prompt.user) + TOKENS_AROUND


def usual_tokens(text: str) -> int:
    """About how many tokens a text has, at the usual rule of four bytes a token: an estimate."""
    return math.ceil(_bytes(text) / 4)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@functools.cache
def _table() -> dict[str, Any]:
    """litellm's prices by model. Empty where its package has no such file: then no price is known."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / TABLE
        if path.is_file():
            table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return table
    return {}
