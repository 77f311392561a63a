"""The team: asks a role, records the call, reads the reply, and asks again when the reply cannot be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from improve.agents.parsing import Proposal, UnusableReply, component_source, json_object, plain_text, whole_pipeline
from improve.domain import ENGINEER_OF, Component, Failure, Pipeline, Reason, Role
from improve.journal import Journal
from improve.llm.client import Client
from improve.prompts import Prompt, PromptSet

PLAN_LENGTH = 4000
SUMMARY_LENGTH = 400
RE_ASKS = 2  # further tries at a reply that cannot be read

Read = TypeVar("Read")


class NoUsableReply(Exception):
    """A role gave no usable reply in all its tries; `failure` says why."""

    def __init__(self, role: Role, problem: str) -> None:
        super().__init__(problem)
        self.failure = Failure(Reason.REPLY, f"the {role.replace('_', ' ')}'s reply was not usable: {problem}")


class Team:
    """All roles of one run. `fixed` are the variables that every prompt gets (card, context)."""

    def __init__(
        self,
        client: Client,
        prompts: PromptSet,
        journal: Journal,
        folder: Path,
        fixed: Mapping[str, Any],
        phase: Callable[[int, str, str], None],
    ) -> None:
        self._client, self._prompts, self._journal = client, prompts, journal
        self._folder, self._fixed, self._phase = folder, dict(fixed), phase
        self._calls = 0

    def plan(self, iteration: int, error: Failure | None = None) -> str:
        """The architect's technical plan, without code. `error` is what the last pipeline failed with."""
        prompt = self._prompts.render("architect", unified=False, error=error, **self._fixed)
        return self._ask("architect", iteration, prompt, lambda reply: plain_text(reply, PLAN_LENGTH))

    def pipeline(self, iteration: int, error: Failure | None = None) -> tuple[str, Pipeline]:
        """The architect's plan and whole pipeline in one pass (unified initialisation, paper section 3.2 and A.1)."""
        prompt = self._prompts.render("architect", unified=True, error=error, **self._fixed)
        return self._ask("architect", iteration, prompt, whole_pipeline)

    def engineer(
        self,
        component: Component,
        iteration: int,
        sources: Mapping[str, str],
        plan: str = "",
        feedback: str = "",
        error: Failure | None = None,
        fresh: bool = False,
    ) -> str:
        """The source of one component. `error` is what its last version failed with (a repair).

        `sources` then holds that version, unless `fresh`: then the engineer starts again from what stood before.
        """
        role = ENGINEER_OF[component]
        prompt = self._prompts.render(
            role,
            component=component,
            sources=sources,
            plan=plan,
            feedback=feedback,
            error=error,
            fresh=fresh,
            **self._fixed,
        )
        return self._ask(role, iteration, prompt, lambda reply: component_source(reply, component))

    def analyst(
        self, iteration: int, history: str, log: str, sources: Mapping[str, str], all_components: bool = False
    ) -> Proposal:
        """Which component to change, and how."""
        prompt = self._prompts.render(
            "analyst", history=history, log=log, sources=sources, all_components=all_components, **self._fixed
        )
        return self._ask("analyst", iteration, prompt, lambda r: _proposal(r, all_components), as_json=True)

    def summary(self, iteration: int, step: str, diff: str) -> str:
        """A sentence or two on a step; what the model says of numbers is not used anywhere."""
        prompt = self._prompts.render("summarizer", step=step, diff=diff, **self._fixed)
        return self._ask("summarizer", iteration, prompt, lambda reply: plain_text(reply, SUMMARY_LENGTH))

    def _ask(
        self, role: Role, iteration: int, prompt: Prompt, read: Callable[[str], Read], as_json: bool = False
    ) -> Read:
        problem = ""
        for attempt in range(1 + RE_ASKS):
            asked = prompt if not attempt else _again(prompt, problem)
            record = self._call(role, iteration, attempt, asked, as_json)
            try:
                if record["finish_reason"] == "length":
                    raise UnusableReply("the reply was cut off at the output limit. Answer more briefly.")
                return read(record["reply"])
            except UnusableReply as error:
                problem = str(error)
        raise NoUsableReply(role, problem)

    def _call(self, role: Role, iteration: int, attempt: int, prompt: Prompt, as_json: bool) -> dict[str, Any]:
        number = self._calls
        self._calls += 1
        file = f"calls/{number:03d}-{iteration:03d}-{role}.md"

        def ask() -> dict[str, Any]:
            self._phase(iteration, role, "")
            reply = self._client.ask(prompt, as_json)
            return {
                "role": role,
                "iteration": iteration,
                "attempt": attempt,
                "model": self._client.config.model,
                "request": hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode()).hexdigest(),
                "reply": reply.text,
                "finish_reason": reply.finish_reason,
                "tokens": reply.tokens,
                "usd": reply.usd,
                "call_seconds": reply.seconds,
                "file": file,
            }

        record = self._journal.once(f"call-{number}", "llm", ask)
        self._write(file, record, prompt)
        return record

    def _write(self, file: str, record: Mapping[str, Any], prompt: Prompt) -> None:
        """The call as a file for people; the journal stays the truth."""
        cost = "price unknown" if record["usd"] is None else f"{record['usd']:.4f} USD"
        used = ", ".join(f"{count} {kind}" for kind, count in record["tokens"].items())
        header = (
            f"role: {record['role']}\niteration: {record['iteration']}\nattempt: {record['attempt']}\n"
            f"model: {record['model']}\nprompt set: {self._prompts.name} {self._prompts.hash()[:12]}\n"
            f"request: {record['request'][:12]}\ntokens: {used}\ncost: {cost}\n"
        )
        path = self._folder / file
        path.parent.mkdir(exist_ok=True)
        text = (
            f"---\n{header}---\n\n# System\n\n{prompt.system}\n# User\n\n{prompt.user}\n# Reply\n\n{record['reply']}\n"
        )
        path.write_text(text, encoding="utf-8", errors="replace")


def _again(prompt: Prompt, problem: str) -> Prompt:
    return Prompt(prompt.system, f"{prompt.user}\nYour last reply could not be used: {problem}\nAnswer again.\n")


def _proposal(reply: str, all_components: bool) -> Proposal:
    proposal = json_object(reply, Proposal)
    if (proposal.component == "all") != all_components:
        wanted = '"all"' if all_components else '"data", "model" or "training"'
        raise UnusableReply(f"component must be {wanted}, not {proposal.component!r}.")
    return proposal
