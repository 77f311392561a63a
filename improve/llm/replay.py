"""llm=replay: the replies of a cassette in place of a model. Nothing is asked, nothing is paid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from improve.errors import LLMError
from improve.llm import cassette
from improve.llm.backend import Answer, Question
from improve.llm.reply import Reply
from improve.spending.worst_case import NOTHING, Most


class Replay:
    """Answers from a cassette: by the same prompt, and where a score made the prompt differ, by role and step."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._cassette = cassette.read(Path(path))

    @property
    def author(self) -> str:
        return f"{self._who} (its recorded replies)"

    @property
    def _who(self) -> str:
        model = self._cassette.model
        return "the rule-based expert, no language model" if model.startswith("offline/") else f"the model {model}"

    def check(self, iterations: int, candidates: int = 1) -> None:
        """Refuse a run that is longer than what was recorded. Raises `LLMError`."""
        last = self._cassette.last_iteration // candidates  # the calls name candidates
        if iterations > last:
            raise LLMError(
                f"strategy.iterations={iterations}, but the cassette {self._path} ends with iteration {last}.",
                f"use strategy.iterations={last}",
            )

    def notes(self, settings: dict[str, Any]) -> list[str]:
        """What people should know: where the replies come from, and with which other settings they were recorded."""
        recorded = self._cassette.recorded
        said = [f"llm=replay gives the recorded replies of {self._who}, again: nobody was asked."]
        now = cassette.settings_of(settings)
        others = [f"{key}={value}" for key, value in recorded.settings.items() if now.get(key) != value]
        if others:
            said.append(f"The cassette was recorded with {', '.join(others)}: replies may not fit the prompts.")
        return said

    def identity(self) -> dict[str, str]:
        """What must be the same for a run to be resumed."""
        digest = hashlib.sha256(self._cassette.model_dump_json(exclude={"licence", "note"}).encode()).hexdigest()
        return {"model": self._cassette.model, "sha256": digest}

    def most(self, question: Question) -> Most:
        return NOTHING

    def remember(self, known: Sequence[Mapping[str, Any]], note: Callable[[dict[str, Any]], None]) -> None:
        """Nobody is asked, so nobody teaches."""

    def ask(self, question: Question, notify: Callable[[str], None]) -> Answer:
        """The fitting reply; its tokens are those recorded, its cost is 0 USD. Raises `LLMError` if there is none."""
        found = self._cassette.find(question.role, question.iteration, question.order, question.request)
        if found is None:
            raise LLMError(
                f"the cassette {self._path} has no reply for {question} (number {question.order + 1} of this role).",
                "replay it with the settings that it was recorded with; the same command resumes the run",
            )
        call = found.call
        return Answer(Reply(call.text, call.finish_reason, dict(call.tokens), 0.0, 0.0), call.model, found.by)

    def unpriced(self) -> tuple[str, ...]:
        return ()
