"""The team: asks a role, records the call, reads the reply, and asks again when the reply cannot be read.

A re-ask quotes what was wrong and says what is expected. A reply that was cut off is asked for again once; a prompt
that the provider declines is not sent again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from improve.agents.brief import Brief
from improve.agents.parsing import (
    CutOff,
    Proposal,
    UnusableReply,
    component_source,
    json_object,
    plain_text,
    whole_pipeline,
)
from improve.agents.prompts import PromptSet
from improve.domain import ENGINEER_OF, Component, Failure, Pipeline, Prompt, Reason, Role
from improve.llm import schema
from improve.llm.backend import Backend, Question
from improve.llm.faults import Unanswered
from improve.llm.reply import CONTEXT, LENGTH, REFUSED, UNANSWERED, UNREADABLE
from improve.record.journal import Journal
from improve.record.numbering import Numbering
from improve.spending.budget import Budget

PLAN_LENGTH = 4000
SUMMARY_LENGTH = 400
RE_ASKS = 2  # further tries at a reply that cannot be read
CUT_OFF_RE_ASKS = 1  # … at a reply that was cut off: it would most likely be cut off again

# Ends of a call after which the prompt is not sent again.
NOT_LET = {
    REFUSED: "was not let answer",
    CONTEXT: "was not let answer",
    UNREADABLE: "could not be heard",
    UNANSWERED: "gave no answer",
}

PROSE = "a few sentences of plain text, no code"
THREE_FILES = (
    "a short plan, then three fenced python blocks, each a whole file whose first line is its name: "
    "`# data.py`, `# model.py`, `# training.py`"
)

Read = TypeVar("Read")


@dataclass(frozen=True)
class Assignment:
    """What an engineer is told beside the sources. `error`: what the last version failed with, which is to be repaired.

    The sources then hold that version, unless `fresh`: then the engineer starts again from what stood before.
    """

    plan: str = ""
    feedback: str = ""
    log: str = ""  # of the training of the pipeline that is revised
    error: Failure | None = None
    fresh: bool = False


class NoUsableReply(Exception):
    """A role gave no usable reply in all its tries, or was not let; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Team:
    """All roles of one run."""

    def __init__(
        self,
        backend: Backend,
        prompts: PromptSet,
        journal: Journal,
        folder: Path,
        brief: Brief,
        phase: Callable[[int, str, str], None],
        budget: Budget | None = None,
    ) -> None:
        self._backend, self._prompts, self._journal, self._budget = backend, prompts, journal, budget
        self._folder, self._brief, self._phase = folder, brief, phase
        self._fixed = brief.variables()
        self._calls = 0
        self._orders: dict[tuple[Role, int], int] = {}  # how many calls a role has had in an iteration
        self._asked: Counter[Prompt] = Counter()
        self._told: set[str] = set()  # the models of which people have been told that they cut prompts
        backend.remember(journal.notes("server"), lambda note: journal.note("server", note))

    def plan(self, iteration: int, error: Failure | None = None) -> str:
        """The architect's technical plan, without code. `error` is what the last pipeline failed with."""
        prompt = self._prompts.render("architect", unified=False, error=error, **self._fixed)
        return self._ask("architect", iteration, prompt, lambda reply: plain_text(reply, PLAN_LENGTH), PROSE)

    def pipeline(self, iteration: int, error: Failure | None = None) -> tuple[str, Pipeline]:
        """The architect's plan and whole pipeline in one pass (unified initialisation, paper section 3.2 and A.1)."""
        prompt = self._prompts.render("architect", unified=True, error=error, **self._fixed)
        return self._ask("architect", iteration, prompt, whole_pipeline, THREE_FILES)

    def engineer(
        self,
        component: Component,
        iteration: int,
        sources: Mapping[str, str],
        told: Assignment | None = None,
    ) -> str:
        """The source of one component, beside (or in the place of) those that there are."""
        told = told or Assignment()
        role = ENGINEER_OF[component]
        prompt = self._prompts.render(
            role,
            component=component,
            sources=sources,
            plan=told.plan,
            feedback=told.feedback,
            error=told.error,
            fresh=told.fresh,
            log=told.log,
            **self._fixed,
        )
        expected = f"one fenced python block with the whole {component}.py, and no other code block"
        return self._ask(role, iteration, prompt, lambda reply: component_source(reply, component), expected)

    def zero_shot(self, iteration: int, num_classes: int) -> Pipeline:
        """A whole pipeline from one prompt (paper, section 4.1), another sample of the answer in each iteration.

        The prompt is the paper's sentence. Our contract follows it, since code that fits no interface could not be
        scored, and so that the machine can be used, its limits; the dataset card does not, as in the paper.
        """
        prompt = self._prompts.render("zero_shot", num_classes=num_classes, **self._fixed)
        return self._ask("zero_shot", iteration, prompt, lambda reply: whole_pipeline(reply)[1], THREE_FILES)

    def analyst(
        self,
        iteration: int,
        history: str,
        log: str,
        sources: Mapping[str, str],
        tried: Mapping[tuple[str, str], str] | None = None,
        mistakes: str = "",
        siblings: str = "",
    ) -> Proposal:
        """Which component to change, and how; under strategy=global, what to change in all of them.

        `mistakes` of the best pipeline, as `views.mistakes` gives them; `siblings`: what the same iteration tries
        already, as `views.proposed` gives it.

        `tried` are the changes (component, feedback) whose training would be spent for nothing, each with what became
        of it ("was tried in iteration 3 and rejected"). To propose one of them word for word is sent back; a model that
        insists has its way.
        """
        prompt = self._prompts.render(
            "analyst", history=history, log=log, sources=sources, mistakes=mistakes, siblings=siblings, **self._fixed
        )
        choices = self._brief.choices
        wanted = " or ".join(f'"{name}"' for name in choices)
        expected = f'one JSON object and nothing else: {{"component": {wanted}, "diagnosis": "…", "feedback": "…"}}'
        as_json = schema.strict(Proposal)
        as_json["properties"]["component"]["enum"] = list(choices)
        patience = iter(range(RE_ASKS))

        def read(reply: str) -> Proposal:
            proposal = _proposal(reply, choices)
            if json.dumps({"feedback": proposal.feedback}, ensure_ascii=False)[1:-1] in prompt.user:
                raise UnusableReply(
                    "its feedback is copied from the form that was asked for. Say what the engineer is to change, with "
                    "names and numbers from the files above."
                )
            before = (tried or {}).get((proposal.component, proposal.feedback))
            if before is not None and next(patience, None) is not None:
                others = " or ".join(name for name in choices if name != proposal.component)
                raise UnusableReply(
                    f"this very change {before}. Propose another one" + (f", best for {others}." if others else ".")
                )
            return proposal

        return self._ask("analyst", iteration, prompt, read, expected, as_json)

    def summary(self, iteration: int, step: str, diff: str) -> str:
        """A sentence or two on a step; what the model says of numbers is not used anywhere."""
        prompt = self._prompts.render("summarizer", step=step, diff=diff, **self._fixed)
        return self._ask("summarizer", iteration, prompt, lambda reply: plain_text(reply, SUMMARY_LENGTH), PROSE)

    def _ask(
        self,
        role: Role,
        iteration: int,
        prompt: Prompt,
        read: Callable[[str], Read],
        expected: str,
        as_json: Mapping[str, Any] | None = None,
    ) -> Read:
        problem, cut_off, who = "", 0, role.replace("_", " ")
        for attempt in range(1 + RE_ASKS):
            asked = prompt if not attempt else _again(prompt, problem, expected)
            record = self._call(role, iteration, attempt, asked, as_json)
            if record["finish_reason"] in NOT_LET:
                raise NoUsableReply(
                    Failure(Reason.REFUSED, f"the {who} {NOT_LET[record['finish_reason']]}: {record['reply']}")
                )
            try:
                if record["finish_reason"] == LENGTH:
                    raise CutOff("the reply was cut off at the output limit. Answer more briefly.")
                return read(record["reply"])
            except UnusableReply as error:
                problem, cut_off = str(error), cut_off + isinstance(error, CutOff)
                if cut_off > CUT_OFF_RE_ASKS:
                    break
        raise NoUsableReply(Failure(Reason.REPLY, f"the {who}'s reply was not usable: {problem}"))

    def _call(
        self, role: Role, iteration: int, attempt: int, prompt: Prompt, as_json: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """One call, recorded. A reply on record is never asked for again; a process that is killed while it waits for
        one loses that reply alone, and it is asked for (and paid, uncounted) once more."""
        number = self._calls
        self._calls += 1
        file = f"calls/{number:03d}-{iteration:03d}-{role}.md"
        order = self._orders.get((role, iteration), 0)
        self._orders[role, iteration] = order + 1
        # The same prompt again wants another answer. Counted here, where a resumed run passes all its calls again.
        sample = self._asked[prompt]
        self._asked[prompt] += 1
        at = Numbering(self._brief.candidates).at(iteration)
        question = Question(role, iteration, order, prompt, as_json, sample, at)
        if self._budget:
            most = self._backend.most(question)
            self._budget.before_call(str(question), most.tokens, most.usd, trains=role != "summarizer")

        def ask() -> dict[str, Any]:
            self._phase(iteration, role, "")
            try:
                answer = self._backend.ask(question, lambda text: self._phase(iteration, role, text))
            except Unanswered as error:
                self._journal.note("unanswered", {"role": role, "iteration": iteration, **error.record()})
                raise
            reply = answer.reply
            told = answer.model in self._told and reply.finish_reason != UNANSWERED
            return {
                "role": role,
                "iteration": iteration,
                "attempt": attempt,
                "model": answer.model,
                "request": question.request,
                "reply": reply.text,
                "finish_reason": reply.finish_reason,
                "tokens": reply.tokens,
                "usd": reply.usd,
                "call_seconds": reply.seconds,
                "retries": reply.retries,
                "unread": reply.unread,
                "said": "" if told else reply.said,
                "replay": answer.replay,
                "file": file,
            }

        record = self._journal.once(f"call-{number}", "llm", ask)
        if record.get("said"):  # by the record: a resumed run tells what an uninterrupted one does
            self._told.add(record["model"])
        self._write(file, record, prompt)
        return record

    def _write(self, file: str, record: Mapping[str, Any], prompt: Prompt) -> None:
        """The call as a file for people; the journal stays the truth."""
        cost = "price unknown" if record["usd"] is None else f"{record['usd']:.4f} USD"
        if record["replay"]:
            cost += f" (replayed, found by its {record['replay']}; tokens as recorded)"
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


def _again(prompt: Prompt, problem: str, expected: str) -> Prompt:
    return Prompt(
        prompt.system,
        f"{prompt.user}\nYour last reply could not be used: {problem}\nExpected: {expected}.\nAnswer again.\n",
    )


def _proposal(reply: str, choices: Sequence[str]) -> Proposal:
    proposal = json_object(reply, Proposal)
    if proposal.component not in choices:
        wanted = " or ".join(f'"{name}"' for name in choices)
        raise UnusableReply(f"component must be {wanted}, not {proposal.component!r}.")
    return proposal
