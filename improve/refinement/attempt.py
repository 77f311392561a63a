"""What a run keeps in mind of its candidates: the best one so far, and what became of the present one."""

from __future__ import annotations

from dataclasses import dataclass

from improve.agents import views
from improve.domain import Failure, Pipeline
from improve.execution.length import Length
from improve.execution.local import Fit
from improve.judging.scoring import Answers
from improve.judging.standings import Entry
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
