"""What a run keeps in mind of its candidates: the best one so far, and what became of the present one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from improve.agents import views
from improve.domain import Failure, Pipeline
from improve.execution.fit import Fit
from improve.execution.length import Length
from improve.judging.acceptance import Judgement, without_comparison
from improve.judging.scoring import Answers
from improve.judging.standings import Entry
from improve.refinement.trials import Trained
from improve.strategies import Candidate


@dataclass(frozen=True)
class Incumbent:
    """The best pipeline so far."""

    iteration: int
    pipeline: Pipeline
    log: views.TrainingLog
    length: Length  # of its training
    answers: Answers  # of its first training, on the selection images


@dataclass(frozen=True)
class Attempt:
    """What became of a candidate: as far as it came, and the failure that ended it."""

    iteration: int
    candidate: Candidate | None
    component: str
    feedback: str = ""
    fit: Fit | None = None
    answers: Answers | None = None  # of its first training
    entry: Entry | None = None
    failure: Failure | None = None


def after(attempt: Attempt, trained: Trained) -> Attempt:
    """What is known of a candidate once it is trained."""
    given = trained.answers
    failure = given if isinstance(given, Failure) else None
    return dataclasses.replace(
        attempt, fit=trained.fit, failure=failure, answers=None if isinstance(given, Failure) else given
    )


def with_verdict(attempt: Attempt, entry: Entry | None, found: Judgement | Failure | None) -> tuple[Attempt, Judgement]:
    """A candidate with its verdict; one that failed at last has no answers."""
    if isinstance(found, Judgement):
        return dataclasses.replace(attempt, entry=entry), found
    failure = found or attempt.failure
    assert failure is not None
    failed = dataclasses.replace(attempt, answers=None, failure=failure)
    return failed, without_comparison(has_score=False, why=f"{failure.reason.value}: {failure.message}")


def evidence(judgement: Judgement) -> str:
    """What a verdict rests on, in words; "" where nothing was compared."""
    if judgement.p_value is None:
        return ""
    said = judgement.note.removeprefix(f"{judgement.verdict.value}: ")
    images = f"{judgement.wins} images won, {judgement.losses} lost"
    return said if said.startswith(images) else f"{images}; {said}"


def verdict_record(
    attempt: Attempt, judgement: Judgement, accuracy: float | None, incumbent_accuracy: float | None, now: int | None
) -> dict[str, Any]:
    """The `verdict` record. `now`: the incumbent after it."""
    return {
        "iteration": attempt.iteration,
        "component": attempt.component,
        "verdict": judgement.verdict.value,
        "note": judgement.note,
        "wins": judgement.wins,
        "losses": judgement.losses,
        "p_value": judgement.p_value,
        "effect": judgement.effect,
        "low": judgement.low,
        "high": judgement.high,
        "trainings": list(judgement.trainings),
        "accuracy": accuracy,
        "incumbent_accuracy": incumbent_accuracy,
        "incumbent": now,
    }


def summed_up(step: views.Step, feedback: str) -> dict[str, Any]:
    """What the summarizer is shown of a step."""
    shown: dict[str, Any] = {
        "iteration": step.iteration,
        **({"candidate": step.candidate} if step.candidate else {}),
        "component": step.component,
        "feedback": feedback,
        "verdict": step.verdict,
    }
    if step.evidence:
        shown["compared with the best before"] = step.evidence
    if step.reason:
        shown["failure"] = step.reason
    return shown
