"""Whom the team asks: a language model through the client, or, under llm=replay, the replies of an earlier run."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig
from improve.domain import Prompt, Role
from improve.llm.clients import Clients
from improve.llm.faults import Unanswered
from improve.llm.manners import Manners
from improve.llm.reply import Reply
from improve.spending.worst_case import NOTHING, Most, known_price, most

COURTESY_SECONDS = 60.0  # for which an answer is tried that the run can do without


@dataclass(frozen=True)
class Question:
    """One call before it is made. `order` counts the calls of a role in an iteration, re-asks and repairs included."""

    role: Role
    iteration: int
    order: int
    prompt: Prompt
    as_json: Mapping[str, Any] | None = None  # the JSON schema of the answer
    sample: int = 0  # how often this prompt was asked before: another sample is another seed
    at: str = ""  # how people call the iteration (of several candidates: the candidate); "": by its number

    @property
    def courtesy(self) -> bool:
        """Whether the run goes on without an answer, so that nobody waits long for it."""
        return self.role == "summarizer"

    @functools.cached_property
    def request(self) -> str:
        """SHA-256 of the prompt: the same question has the same one, whichever model it goes to."""
        return hashlib.sha256(f"{self.prompt.system}\0{self.prompt.user}".encode()).hexdigest()

    def __str__(self) -> str:
        return f"the {self.role.replace('_', ' ')}'s call in {self.at or f'iteration {self.iteration}'}"


@dataclass(frozen=True)
class Answer:
    """A reply and the model that wrote it. `replay`: how a cassette's was found, "" for one that was asked for."""

    reply: Reply
    model: str
    replay: str = ""


class Backend(Protocol):
    """Answers questions. `author` says for people who wrote what it answers."""

    @property
    def author(self) -> str: ...

    def check(self, iterations: int, candidates: int = 1) -> None:
        """Refuse what cannot work before anything is spent: for so many candidates each. Raises `LLMError`."""

    def notes(self, settings: dict[str, Any]) -> list[str]:
        """What people should know of a run with these settings."""

    def identity(self) -> dict[str, str]:
        """What must be the same for a run to be resumed, besides its settings."""

    def most(self, question: Question) -> Most: ...

    def remember(self, known: Sequence[Mapping[str, Any]], note: Callable[[dict[str, Any]], None]) -> None:
        """Begin with what servers have taught before, and `note` what they teach (see `kinds.ServerRecord`)."""

    def ask(self, question: Question, notify: Callable[[str], None]) -> Answer:
        """`notify` is told in words when the call has to wait. Raises `LLMError`."""

    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is not known."""


class LiveModels:
    """The configured models, asked now: the run's, and those that single roles have instead of it."""

    def __init__(self, main: LLMConfig, roles: Mapping[str, LLMConfig], seed: int, cache: Path | None = None) -> None:
        """`cache`: the folder in which paces are shared with other runs; None: they are not kept."""
        self._clients = Clients(main, roles, seed, cache)
        self._checked = False

    @property
    def author(self) -> str:
        return "a rule-based expert" if self._clients.offline else f"the language model {self._clients.models}"

    def check(self, iterations: int, candidates: int = 1) -> None:
        self._clients.check()
        self._checked = True

    def notes(self, settings: dict[str, Any]) -> list[str]:
        config = self._clients.main.config
        drawn = " that draws its ideas at random" if config.model.endswith("/random") else ""
        note = f"llm={config.name} is a rule-based expert{drawn}, no language model."
        return [note] if self._clients.offline else []

    def identity(self) -> dict[str, str]:
        return {}

    def most(self, question: Question) -> Most:
        client = self._clients.of(question.role)
        return NOTHING if client.offline else most(client.config, question.prompt)

    def remember(self, known: Sequence[Mapping[str, Any]], note: Callable[[dict[str, Any]], None]) -> None:
        for client in self._clients.all:
            who = {"llm": client.config.name, "model": asked_model(client.config)}
            for taught in known:
                if {**taught, **who} == taught:
                    client.manners = Manners.from_record(taught["manners"])

            def learnt(manners: Manners, said: str, who: dict[str, str] = who) -> None:
                note({**who, "manners": manners.record(), "said": said})

            client.learnt = learnt

    def ask(self, question: Question, notify: Callable[[str], None]) -> Answer:
        if not self._checked:  # a resumed run finds out only now that somebody must be asked
            self.check(question.iteration)
        client = self._clients.of(question.role)
        client.notify = notify
        model = asked_model(client.config)
        if not question.courtesy:
            return Answer(client.ask(question.prompt, question.as_json, question.sample), model)
        try:
            return Answer(client.ask(question.prompt, None, question.sample, COURTESY_SECONDS), model)
        except Unanswered as error:
            return Answer(dataclasses.replace(error.taken, text=error.what, said=f"no summary: {error.what}"), model)

    def unpriced(self) -> tuple[str, ...]:
        asked = [client.config for client in self._clients.all if not client.offline]
        return tuple(dict.fromkeys(asked_model(config) for config in asked if known_price(config) is None))
