"""What a journal says of each candidate: its records as one frozen object, in the order of the candidates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

from improve.domain import Verdict
from improve.record.journal import Record
from improve.record.kinds import (
    AuditRecord,
    CandidateRecord,
    CheckRecord,
    FailureRecord,
    LLMRecord,
    ProposalRecord,
    RunRecord,
    ScoreRecord,
    SummaryRecord,
    TrainingRecord,
    VerdictRecord,
)
from improve.record.numbering import Numbering
from improve.spending.costs import Costs, costs

OF_THE_RUN = ("run", "refit", "test", "member", "ensemble", "refit_test", "claims", "finished")  # kinds of no iteration


@dataclass(frozen=True)
class Iteration:
    """All that is on record for one candidate; an iteration has one, unless its run tries several side by side.

    `incumbent` is the best pipeline before its iteration, with its accuracy.
    """

    number: int  # of the candidate: see `numbering`
    incumbent: int | None
    incumbent_accuracy: float | None
    proposal: ProposalRecord | None
    candidate: CandidateRecord | None
    checks: tuple[CheckRecord, ...]
    training: TrainingRecord | None
    score: ScoreRecord | None
    again: tuple[ScoreRecord, ...]  # of further trainings, with other seeds
    spoilt: FailureRecord | None  # why the candidate failed with another seed, while it was judged
    audit: AuditRecord | None
    verdict: VerdictRecord | None
    summary: str
    calls: tuple[LLMRecord, ...]
    seconds: float
    best_accuracy: float | None = (
        None  # of the best pipeline among those up to this number, as it was known after the verdict
    )

    @property
    def component(self) -> str:
        """What it changes: "data", "model", "training", "all" (several), or "" where nothing usable was proposed."""
        if self.proposal is not None:
            return self.proposal["component"]
        if self.verdict is not None:
            return self.verdict["component"]
        return "all" if self.number == 0 else ""

    @property
    def label(self) -> str:
        """How people call what it changes: a component, "first" for the first pipeline, "all", or "none"."""
        return "first" if self.number == 0 else self.component or "none"

    @property
    def accuracy(self) -> float | None:
        """Accuracy on the selection split, in [0, 1], mean over trainings; None if the candidate has no valid score."""
        if self.score is None or self.score["failure"] or self.spoilt:
            return None
        mean = self.verdict.get("accuracy") if self.verdict else None
        return self.score["accuracy"] if mean is None else mean

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the accuracy over images, of as many as one training was scored on."""
        if self.score is None or self.accuracy is None:
            return None
        moved = self.accuracy - self.score["accuracy"]
        return max(0.0, self.score["low"] + moved), min(1.0, self.score["high"] + moved)

    @property
    def gain(self) -> float | None:
        """Accuracy above that of the incumbent, in [-1, 1]; None where either has no score."""
        if self.accuracy is None or self.incumbent_accuracy is None:
            return None
        return self.accuracy - self.incumbent_accuracy

    @property
    def outcome(self) -> Verdict | None:
        return Verdict(self.verdict["verdict"]) if self.verdict else None

    @property
    def replaces(self) -> bool:
        """Whether the search went on from its candidate."""
        return self.outcome is not None and self.outcome.replaces

    @property
    def repairs(self) -> int:
        """How many further tries the engineers needed at code that failed a check."""
        return sum(check["attempt"] > 0 for check in self.checks)

    @property
    def failure(self) -> FailureRecord | None:
        """Why the candidate has no score."""
        for stage in (self.training, self.score):
            if stage and stage["failure"]:
                return stage["failure"]
        if self.spoilt:
            return self.spoilt
        if self.outcome is Verdict.FAILED and self.checks:
            return self.checks[-1]["failure"]
        return None

    @property
    def costs(self) -> Costs:
        return costs(self.calls)

    @property
    def tokens(self) -> int:
        return self.costs.total_tokens

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in a sentence or two: the summary, else the verdict's own note."""
        note = self.verdict["note"] if self.verdict else ""
        return note if self.outcome is Verdict.FAILED and note else self.summary or note


def numbering_of(run: RunRecord) -> Numbering:
    """Earlier versions have one candidate an iteration, and do not say so."""
    return Numbering(int(run["config"].get("strategy", {}).get("candidates", 1)))


def iterations_of(records: list[Record], numbering: Numbering) -> tuple[Iteration, ...]:
    groups: dict[int, list[Record]] = {}
    for record in records:
        if record.kind not in OF_THE_RUN and isinstance(record.data.get("iteration"), int):
            groups.setdefault(record.data["iteration"], []).append(record)
    built: list[Iteration] = []
    incumbent: int | None = None
    now: tuple[int, int | None] = (0, None)  # an iteration, and the incumbent after it as far as is known
    for number in sorted(groups):
        if numbering.iteration(number) != now[0]:
            incumbent, now = now[1], (numbering.iteration(number), now[1])
        accuracy = next((past.accuracy for past in built if past.number == incumbent), None)
        iteration = _iteration(number, groups[number], incumbent, accuracy)
        again = iteration.verdict.get("incumbent_accuracy") if iteration.verdict else None
        if again is not None:  # the incumbent may have been trained again since
            iteration = dataclasses.replace(iteration, incumbent_accuracy=again)
        if iteration.verdict:
            now = (now[0], iteration.verdict["incumbent"])
        built.append(iteration)
    return tuple(dataclasses.replace(one, best_accuracy=_best_after(one, built)) for one in built)


def _best_after(one: Iteration, all_of_them: list[Iteration]) -> float | None:
    if one.verdict is None or one.verdict["incumbent"] is None:
        return None
    if one.verdict["incumbent"] == one.incumbent or one.verdict["incumbent"] > one.number:
        return one.incumbent_accuracy
    return next((each.accuracy for each in all_of_them if each.number == one.verdict["incumbent"]), None)


def _iteration(number: int, records: list[Record], incumbent: int | None, accuracy: float | None) -> Iteration:
    def all_of(kind: str) -> list[dict[str, object]]:
        return [record.data for record in records if record.kind == kind]

    def last_of(kind: str) -> dict[str, object] | None:
        return next((data for data in reversed(all_of(kind)) if not data.get("replicate")), None)

    summary = cast("SummaryRecord | None", last_of("summary"))
    return Iteration(
        number=number,
        incumbent=incumbent,
        incumbent_accuracy=accuracy,
        proposal=cast("ProposalRecord | None", last_of("proposal")),
        candidate=cast("CandidateRecord | None", last_of("candidate")),
        checks=tuple(cast(CheckRecord, data) for data in all_of("check")),
        training=cast("TrainingRecord | None", last_of("training")),
        score=cast("ScoreRecord | None", last_of("score")),
        again=tuple(
            cast(ScoreRecord, data) for data in all_of("score") if data.get("replicate") and not data["failure"]
        ),
        spoilt=next(
            (
                cast(FailureRecord, data["failure"])
                for data in [*all_of("training"), *all_of("score")]
                if data.get("replicate") and data["failure"] and data["race"] == number
            ),
            None,
        ),
        audit=cast("AuditRecord | None", last_of("audit")),
        verdict=cast("VerdictRecord | None", last_of("verdict")),
        summary=summary["text"] if summary else "",
        calls=tuple(cast(LLMRecord, data) for data in all_of("llm")),
        seconds=sum(record.seconds for record in records),
    )
