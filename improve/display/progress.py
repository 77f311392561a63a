"""Where a run stands, kept up to date from its records: what the rich and the plain display both show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from improve.display.text import one_line
from improve.execution.replicates import replicate_in
from improve.record.history import History
from improve.record.journal import Record

STAGES = {
    "preparing": "preparing the images",
    "starting": "loading what trainings need",
    "architect": "the architect plans the pipeline",
    "analyst": "the analyst chooses what to improve",
    "data_engineer": "the data engineer writes",
    "model_engineer": "the model engineer writes",
    "training_engineer": "the training engineer writes",
    "summarizer": "the summarizer sums up",
    "check": "checking the code",
    "smoke": "trying the code on a few images",
    "waiting": "waits for a free slot",
    "training": "training",
    "predicting": "predicting the selection images",
    "audit": "auditing the predictions",
    "test": "scoring the test images",
}


@dataclass(frozen=True)
class Phase:
    """What is going on right now."""

    iteration: int = 0
    stage: str = ""
    detail: str = ""

    @property
    def text(self) -> str:
        stage = STAGES.get(self.stage, one_line(self.stage.replace("_", " ")))
        detail = one_line(self.detail)
        return f"{stage}: {detail}" if stage and detail else stage or detail


class Progress:
    """The records so far, as a `History`, and the clock of the run.

    The clock counts the seconds on record plus those since the last record: a resumed run goes on where it stopped.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._records: list[Record] = []
        self._last = now()
        self._elapsed = 0.0
        self._began = datetime.now(timezone.utc)
        self.history: History | None = None
        self._phase, self._phase_began = Phase(), now()
        self._beside: dict[tuple[int, int], Phase] = {}  # of trainings that go side by side, by number and replicate

    @property
    def beside(self) -> list[Phase]:
        """What each of the trainings does that go side by side; nothing where one is alone."""
        return list(self._beside.values()) if len(self._beside) > 1 else []

    @property
    def phase(self) -> Phase:
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        mine = (phase.iteration, replicate_in(phase.stage))
        if mine in self._beside:
            self._beside[mine] = phase
        elif (phase.iteration, phase.stage) != (self._phase.iteration, self._phase.stage):
            self._phase_began = self._now()
        self._phase = phase

    @property
    def in_phase(self) -> float:
        """Seconds since the present stage began, whatever its detail."""
        return self._now() - self._phase_began

    def add(self, record: Record) -> None:
        now = self._now()
        self._elapsed += max(record.seconds, now - self._last)
        self._last = now
        self._records.append(record)
        if record.kind == "batch":
            self._beside = {(n, replicate): Phase(n, "waiting") for n, replicate in record.data["trainings"]}
            self._phase_began = now
        elif record.kind not in ("training", "score"):
            self._beside = {}
        if self._records[0].kind == "run":
            self.history = History.of(self._records)

    def replayed(self, record: Record) -> bool:
        """Whether a step was done before this display began: the run has been resumed."""
        return datetime.fromisoformat(record.at) < self._began

    @property
    def elapsed(self) -> float:
        """Seconds, over all the sessions of the run."""
        return self._elapsed + self._now() - self._last

    @property
    def left(self) -> float | None:
        """Estimated seconds until the last iteration has its verdict; None where there is nothing to go by."""
        history = self.history
        if history is None or not any(iteration.verdict for iteration in history.iterations):
            return None
        # The first pipeline costs more than a revision, so it stands in only until there is one.
        done = history.judged or history.iterations[:1]
        mean = sum(iteration.seconds for iteration in done) / len(done)
        under_way = sum(iteration.seconds for iteration in history.iterations if not iteration.verdict)
        ahead = mean * (history.planned_candidates - len(history.judged)) - under_way - (self._now() - self._last)
        return ahead if ahead >= 1 else None
