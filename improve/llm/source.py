"""Whom the team asks: a language model through the client, or, under llm=replay, the replies of an earlier run."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from improve.config import LLMConfig
from improve.domain import Role
from improve.llm.client import Client, Reply
from improve.llm.prices import Price, most_input_tokens, price_of
from improve.prompts import Prompt


@dataclass(frozen=True)
class Question:
    """One call before it is made. `order` counts the calls of a role in an iteration, re-asks and repairs included."""

    role: Role
    iteration: int
    order: int
    prompt: Prompt
    as_json: bool = False

    @functools.cached_property
    def request(self) -> str:
        """SHA-256 of the prompt: the same question has the same one, whichever model it goes to."""
        return hashlib.sha256(f"{self.prompt.system}\0{self.prompt.user}".encode()).hexdigest()

    def __str__(self) -> str:
        return f"the {self.role.replace('_', ' ')}'s call in iteration {self.iteration}"


@dataclass(frozen=True)
class Answer:
    """A reply and the model that wrote it. `replay`: how a cassette's was found, "" for one that was asked for."""

    reply: Reply
    model: str
    replay: str = ""


@dataclass(frozen=True)
class Most:
    """What a call may cost at most. `usd` is None where the model's price is not known."""

    tokens: int
    usd: float | None


class Source(Protocol):
    """Answers questions. `author` says for people who wrote what it answers."""

    @property
    def author(self) -> str: ...

    def check(self, iterations: int) -> None:
        """Refuse what cannot work before anything is spent. Raises `LLMError`."""

    def notes(self, settings: dict[str, Any]) -> list[str]:
        """What people should know of a run with these settings."""

    def identity(self) -> dict[str, str]:
        """What must be the same for a run to be resumed, besides its settings."""

    def most(self, question: Question) -> Most: ...

    def ask(self, question: Question) -> Answer: ...

    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is not known."""


class LiveModel:
    """The configured model, asked now."""

    def __init__(self, config: LLMConfig, seed: int) -> None:
        self._config, self._client = config, Client(config, seed)
        self._price = price_of(config)

    @property
    def author(self) -> str:
        return "a rule-based expert" if self._client.offline else f"the language model {self._config.model}"

    def check(self, iterations: int) -> None:
        self._client.check_key()

    def notes(self, settings: dict[str, Any]) -> list[str]:
        name = self._config.name
        return [f"llm={name} is a rule-based expert, no language model."] if self._client.offline else []

    def identity(self) -> dict[str, str]:
        return {}

    def most(self, question: Question) -> Most:
        if self._client.offline:
            return Most(0, 0.0)
        return most(question.prompt, self._config.max_output_tokens, self._price)

    def ask(self, question: Question) -> Answer:
        return Answer(self._client.ask(question.prompt, question.as_json), self._config.model)

    def unpriced(self) -> tuple[str, ...]:
        return () if self._price else (self._config.model,)


def most(prompt: Prompt, max_output_tokens: int, price: Price | None) -> Most:
    """The worst case of a call: a token for each byte of its prompt, and a reply that reaches its limit."""
    tokens = most_input_tokens(prompt)
    usd = price.of(tokens, max_output_tokens) if price else None
    return Most(tokens + max_output_tokens, usd)
