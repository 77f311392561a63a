"""A journal's records as one frozen view of a run, for everything that shows it: displays, the end card, pages.

It computes nothing that the journal does not say: it groups the records by iteration and adds up what they cost.
A run that was killed, or that is still going on, reads like any other; what it has not reached is None or empty.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from improve import strategies
from improve.config.llm_names import llm_title
from improve.domain import Verdict
from improve.errors import ResumeError
from improve.record import journal
from improve.record.iterations import Iteration, iterations_of, numbering_of
from improve.record.journal import Record
from improve.record.kinds import (
    ClaimsRecord,
    CodeRecord,
    DataAuditRecord,
    DeliveredRecord,
    EnsembleRecord,
    FinishedRecord,
    LLMRecord,
    MemberRecord,
    RunRecord,
    ServerRecord,
    TestRecord,
    UnansweredRecord,
)
from improve.record.numbering import Numbering
from improve.spending.costs import Costs, costs

# What stands beside every score of a run whose test images also chose the pipelines.
PAPER_PROTOCOL = "protocol: paper (selected on the test set)"
ROUNDED = 0.01  # share of answers that may change where other hardware or libraries round otherwise
RULE_BASED = "offline"  # the provider that is no language model


@dataclass(frozen=True)
class History:
    """A run as its journal tells it. `seconds` is the sum of its steps, over all the sessions that it took."""

    run: RunRecord
    iterations: tuple[Iteration, ...]
    calls: tuple[LLMRecord, ...]
    first_test: TestRecord | None
    best_test: TestRecord | None
    finished: FinishedRecord | None
    started_at: str
    ended_at: str
    seconds: float
    data_audit: DataAuditRecord | None = None
    servers: tuple[ServerRecord, ...] = ()  # what the models' servers taught
    unanswered: tuple[UnansweredRecord, ...] = ()  # calls that ended a session without a reply
    codes: tuple[CodeRecord, ...] = ()  # other versions of improve that went on with the run
    delivered: DeliveredRecord | None = None
    outage: str = ""  # why the last session ended before the run did: a model was out of reach; "" if it did not
    members: tuple[MemberRecord, ...] = ()  # test scores of further trainings of the first and of the best pipeline
    ensemble: EnsembleRecord | None = None  # the test score of what is delivered, where that is more than one training
    refit: MemberRecord | None = None  # the test score of the best pipeline, trained on all images but the test images
    claims: ClaimsRecord | None = None
    link: str = ""  # the journal's last: who keeps it can tell whether any record was changed; "" if nobody asked

    @classmethod
    def read(cls, run_folder: Path) -> History:
        """The run in a folder. Raises `ResumeError` if the folder holds no run or its journal is damaged."""
        path = run_folder / journal.JOURNAL
        if not path.is_file():
            raise ResumeError(f"{run_folder} holds no run (it has no {journal.JOURNAL}).", "give the folder of a run")
        records, _, link = journal.read(path)
        if not records or records[0].kind != "run":
            raise ResumeError(f"{path} holds no run yet: it ended before its first step.", "start the run again")
        return cls.of(records, link)

    @classmethod
    def of(cls, records: Iterable[Record], link: str = "") -> History:
        """The run that the records tell: the first of kind `run` (else `ValueError`). `link` is the journal's last."""
        records = list(records)
        if not records or records[0].kind != "run":
            raise ValueError("a journal starts with the record of kind 'run'")
        outages = [record.data for record in records if record.kind == "outage"]
        tests: dict[str, TestRecord] = dict(outages[-1]) if outages else {}
        tests |= {record.data["which"]: cast(TestRecord, record.data) for record in records if record.kind == "test"}
        finished = [record.data for record in records if record.kind == "finished"]
        audits = [record.data for record in records if record.kind == "audit_data"]
        delivered = [record.data for record in records if record.kind == "delivered"]
        seconds = sum(record.seconds for record in records)
        return cls(
            run=cast(RunRecord, records[0].data),
            iterations=iterations_of(records, numbering_of(cast(RunRecord, records[0].data))),
            calls=tuple(cast(LLMRecord, record.data) for record in records if record.kind == "llm"),
            first_test=tests.get("first"),
            best_test=tests.get("best"),
            finished=cast(FinishedRecord, finished[-1]) if finished else None,
            started_at=records[0].at,
            ended_at=records[-1].at,
            seconds=float(finished[-1]["total_seconds"]) if finished else seconds,
            data_audit=cast(DataAuditRecord, audits[-1]) if audits else None,
            servers=tuple(cast(ServerRecord, record.data) for record in records if record.kind == "server"),
            unanswered=tuple(cast(UnansweredRecord, record.data) for record in records if record.kind == "unanswered"),
            codes=tuple(cast(CodeRecord, record.data) for record in records if record.kind == "code"),
            delivered=cast(DeliveredRecord, delivered[-1]) if delivered else None,
            outage=outages[-1]["reason"] if outages and records[-1].kind == "outage" else "",
            members=tuple(cast(MemberRecord, record.data) for record in records if record.kind == "member"),
            ensemble=next((cast(EnsembleRecord, record.data) for record in records if record.kind == "ensemble"), None),
            refit=next((cast(MemberRecord, record.data) for record in records if record.kind == "refit_test"), None),
            claims=next((cast(ClaimsRecord, record.data) for record in records if record.kind == "claims"), None),
            link=link,
        )

    @property
    def is_delivered(self) -> bool:
        """Whether nothing speaks against the exported pipeline: it gave the scored answers again, but for rounding."""
        record = self.delivered
        return record is None or (not record["note"] and record["differing"] <= ROUNDED * record["images"])

    @property
    def is_finished(self) -> bool:
        return self.finished is not None

    @property
    def best(self) -> int | None:
        """The iteration of the best pipeline so far; None if none has a score."""
        if self.finished:
            return self.finished["best"]
        verdicts = [iteration.verdict for iteration in self.iterations if iteration.verdict]
        return verdicts[-1]["incumbent"] if verdicts else None

    def iteration(self, number: int | None) -> Iteration | None:
        return next((iteration for iteration in self.iterations if iteration.number == number), None)

    @property
    def planned(self) -> int:
        """How many iterations, besides the first pipeline, the configuration asks for."""
        return int(self.run["config"].get("strategy", {}).get("iterations", 0))

    @property
    def numbering(self) -> Numbering:
        return numbering_of(self.run)

    @property
    def planned_candidates(self) -> int:
        """How many candidates they have."""
        return self.planned * self.numbering.candidates

    def where(self, number: int) -> str:
        """How people call a candidate: see `Numbering.where`."""
        return self.numbering.where(number)

    @property
    def judged(self) -> tuple[Iteration, ...]:
        """The iterations after the first pipeline that have a verdict."""
        return tuple(iteration for iteration in self.iterations if iteration.number > 0 and iteration.verdict)

    def count(self, verdict: Verdict) -> int:
        """How many iterations after the first pipeline ended with this verdict."""
        return sum(iteration.outcome is verdict for iteration in self.judged)

    @property
    def tokens(self) -> dict[str, int]:
        """Input, cached, reasoning and output tokens of all calls."""
        return dict(self.costs.tokens)

    @property
    def usd(self) -> float | None:
        """What the calls cost; None if the price of any of them is not known."""
        return self.costs.usd

    @functools.cached_property
    def costs(self) -> Costs:
        """What all calls took together."""
        return costs(self.asked)

    @property
    def asked(self) -> tuple[LLMRecord | UnansweredRecord, ...]:
        """All calls, those without a reply, too: what broke off of a reply was paid."""
        return (*self.calls, *self.unanswered)

    @property
    def rate_limited(self) -> int:
        """How often a provider said that it was asked too fast (HTTP 429)."""
        return sum(call.get("retries", {}).get("429", 0) for call in self.asked)

    @property
    def unread(self) -> int:
        """Replies that broke off; they are paid, and counted at their worst case."""
        return sum(call.get("unread", 0) for call in self.asked)

    @property
    def replayed(self) -> tuple[LLMRecord, ...]:
        """The calls whose replies came from a cassette: their tokens are those recorded, and nothing was paid."""
        return tuple(call for call in self.calls if call.get("replay"))

    @property
    def ended_by_budget(self) -> bool:
        return bool(self.finished and self.finished.get("budget"))

    @property
    def rule_based(self) -> bool:
        """Whether the roles were played by the offline expert, which is no language model."""
        llm = self.run["config"].get("llm", {})
        return RULE_BASED in (llm.get("name"), str(llm.get("model", "")).split("/")[0])

    @property
    def llm(self) -> str:
        """What the run calls its language model, after the one that was asked."""
        llm = self.run["config"].get("llm", {})
        return llm_title(str(llm.get("name", "?")), str(llm.get("model", "")))

    @property
    def refines(self) -> bool:
        """Whether iterations revise the best pipeline; else each is a pipeline of its own (best_of_n)."""
        strategy = strategies.known(self.run["config"].get("strategy", {}).get("name"))
        return strategy is None or strategy.refines

    @property
    def paper_protocol(self) -> bool:
        """Whether the test set chose the pipelines, as in the paper: the test score is then optimistic."""
        return self.run["config"].get("protocol") == "paper"

    @property
    def protocol(self) -> str:
        """What a table's field says of the scores: "honest", or that they were selected on the test set."""
        return PAPER_PROTOCOL if self.paper_protocol else "honest"
