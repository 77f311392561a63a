"""Whom the team asks: a language model through the client, or, under llm=replay, the replies of an earlier run."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from improve.config import LLMConfig
from improve.domain import Role
from improve.llm.client import Client, Reply
from improve.llm.worst_case import NOTHING, Most, known_price, most
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


class LiveModels:
    """The configured models, asked now: the run's, and those that single roles have instead of it."""

    def __init__(self, config: LLMConfig, seed: int, roles: Mapping[Role, LLMConfig] | None = None) -> None:
        self._default = Client(config, seed)
        self._own = {role: Client(own, seed) for role, own in (roles or {}).items()}

    @property
    def author(self) -> str:
        names = sorted({c.config.model for c in self._clients() if not c.offline})
        return f"the language model {' and '.join(names)}" if names else "a rule-based expert"

    def check(self, iterations: int) -> None:
        for client in self._clients():
            client.check_key()

    def notes(self, settings: dict[str, Any]) -> list[str]:
        names = sorted({client.config.name for client in self._clients() if client.offline})
        return [f"llm={name} is a rule-based expert, no language model." for name in names]

    def identity(self) -> dict[str, str]:
        return {}

    def most(self, question: Question) -> Most:
        client = self._of(question.role)
        return NOTHING if client.offline else most(client.config, question.prompt)

    def ask(self, question: Question) -> Answer:
        client = self._of(question.role)
        return Answer(client.ask(question.prompt, question.as_json), client.config.model)

    def unpriced(self) -> tuple[str, ...]:
        unknown = {c.config.model for c in self._clients() if not c.offline and known_price(c.config) is None}
        return tuple(sorted(unknown))

    def _of(self, role: Role) -> Client:
        return self._own.get(role, self._default)

    def _clients(self) -> list[Client]:
        return [self._default, *self._own.values()]
