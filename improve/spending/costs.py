"""What calls cost: tokens, USD and seconds of any set of them, by role, by iteration, from a journal's `llm` records.

A price that is not known is never counted as 0 USD: the sum names the models that it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, TypeVar

TOKENS = ("input", "cached", "reasoning", "output")  # cached ones are part of the input, reasoning ones of the output

Key = TypeVar("Key", bound=Hashable)


class LLMRecord(TypedDict):
    """kind `llm`: one answered call."""

    role: str
    iteration: int
    attempt: int  # 0, then 1… for re-asks and repairs
    model: str
    request: str  # SHA-256 of the request
    reply: str  # the raw text
    finish_reason: str  # "stop"; "length": cut off; "refused", "context": declined, the reply says why; "empty"; …
    tokens: dict[str, int]  # input, cached, reasoning, output
    usd: float | None  # None: the price of this model is not known
    call_seconds: float
    retries: dict[str, int]  # how often a try failed before, by HTTP status ("429": a rate limit; "none": no answer)
    unread: int  # replies that broke off before: paid, and counted in tokens and usd at their worst case
    said: str  # what people should know of how it was asked; "" if nothing
    replay: str  # "" for a reply that was asked for; else how the cassette's was found: "request" or "step"
    file: str  # prompt and reply as text, relative to the run's folder


class UnansweredRecord(TypedDict):
    """kind `unanswered`: a call that ended the session; what is paid of it are replies that broke off."""

    role: str
    iteration: int
    model: str
    said: str
    retries: dict[str, int]
    unread: int
    tokens: dict[str, int]
    usd: float | None
    call_seconds: float


Call: TypeAlias = LLMRecord | UnansweredRecord


@dataclass(frozen=True)
class Costs:
    """A sum over calls. `paid` is what those of known price cost; `unpriced` are the models of the others."""

    calls: int
    tokens: Mapping[str, int]
    paid: float
    unpriced: tuple[str, ...]
    seconds: float

    @property
    def usd(self) -> float | None:
        """The cost of all calls in USD; None if the price of any is not known."""
        return None if self.unpriced else self.paid

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens["input"] + self.tokens["output"]

    def record(self) -> dict[str, Any]:
        """As plain values, for the journal."""
        return {
            "calls": self.calls,
            "tokens": dict(self.tokens),
            "usd": self.usd,
            "unpriced": list(self.unpriced),
            "seconds": round(self.seconds, 3),
        }


def costs(calls: Iterable[Call]) -> Costs:
    """The sum over these calls."""
    calls = list(calls)
    tokens = dict.fromkeys(TOKENS, 0)
    for call in calls:
        for name, count in call["tokens"].items():
            tokens[name] = tokens.get(name, 0) + count
    return Costs(
        calls=len(calls),
        tokens=tokens,
        paid=sum(call["usd"] or 0.0 for call in calls),
        unpriced=tuple(sorted({call["model"] for call in calls if call["usd"] is None})),
        seconds=sum(call["call_seconds"] for call in calls),
    )


def by_role(calls: Iterable[Call]) -> dict[str, Costs]:
    """In the order in which the roles first spoke."""
    return _grouped(calls, lambda call: call["role"])


def by_iteration(calls: Iterable[Call]) -> dict[int, Costs]:
    return _grouped(calls, lambda call: call["iteration"])


def call_tokens(call: LLMRecord) -> int:
    """Tokens read and written by one call."""
    return call["tokens"].get("input", 0) + call["tokens"].get("output", 0)


def _grouped(calls: Iterable[Call], key: Callable[[Call], Key]) -> dict[Key, Costs]:
    groups: dict[Key, list[Call]] = {}
    for call in calls:
        groups.setdefault(key(call), []).append(call)
    return {name: costs(made) for name, made in groups.items()}
