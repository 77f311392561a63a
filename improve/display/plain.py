"""The display for log files and pipes: a line for each event that matters, no control characters."""

from __future__ import annotations

import threading
from typing import TextIO

from improve.display.progress import Phase, Progress
from improve.display.sentences import (
    data_findings,
    ensemble_tested,
    finished,
    headline,
    images,
    outcome,
    refit_tested,
    tested,
    warnings,
)
from improve.display.terminal import Writer
from improve.display.text import duration, one_line, trained
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.journal import Record

QUIET_SECONDS = 30.0  # after so long without a line, the next phase says that the run is alive
TEXT_LIMIT = 200  # characters of foreign text on a line


class PlainDisplay:
    """Lines that start with the time elapsed, then the run's name if one is given."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self._name = f"{name}: " if name else ""
        self._writer = Writer(stream)
        self._lock = threading.RLock()
        self._progress = Progress()
        self._untold: int | None = None  # an iteration that has a verdict and waits for its summary
        self._replayed = 0
        self._last_line = 0.0

    def record(self, record: Record) -> None:
        with self._lock:
            self._progress.add(record)
            history = self._progress.history
            if history is None:
                return
            replayed = self._progress.replayed(record)
            if self._replayed and not replayed:
                self._line(f"resumed: {self._replayed} steps were done before and are not done again")
            self._replayed = self._replayed + 1 if replayed else 0
            if self._untold is not None and record.kind not in ("llm", "summary"):
                self._tell(history)
            for line in self._lines(record, history, replayed):
                self._line(line)
            if record.kind == "summary":
                self._tell(history)

    def phase(self, iteration: int, stage: str, detail: str = "") -> None:
        with self._lock:
            self._progress.phase = Phase(iteration, stage, detail)
            if self._progress.elapsed - self._last_line >= QUIET_SECONDS:
                # Before the first record, the images are being prepared and there is no pipeline yet.
                where = f"{self._where(iteration)}: " if self._progress.history else ""
                self._line(where + self._progress.phase.text)

    def note(self, text: str) -> None:
        with self._lock:
            self._line(one_line(text))

    def close(self) -> None:
        with self._lock:
            if self._progress.history and self._untold is not None:
                self._tell(self._progress.history)

    def _lines(self, record: Record, history: History, replayed: bool) -> list[str]:
        """What to say about a record at once; a verdict waits for its summary."""
        if record.kind == "run":
            return self._opening(history)
        if record.kind == "audit_data":
            return [f"images: {text}" for text in data_findings(history)]
        if record.kind == "verdict":
            self._untold = record.data["iteration"]
        if record.kind == "test":
            test = history.first_test if record.data["which"] == "first" else history.best_test
            return [tested(history, test)] if test else []
        if record.kind == "outage":
            return [tested(history, test) for test in (history.first_test, history.best_test) if test]
        if record.kind in ("ensemble", "refit_test"):
            refit = record.kind == "refit_test"
            return [f"test, refit: {refit_tested(history)}" if refit else f"test, ensemble: {ensemble_tested(history)}"]
        if record.kind == "finished":
            return [finished(history)]
        if record.kind in ("server", "llm", "weights") and record.data.get("said"):
            return [one_line(record.data["said"])]
        iteration = history.iteration(record.data.get("iteration"))
        return [] if replayed or iteration is None else self._step(record, iteration)

    def _step(self, record: Record, iteration: Iteration) -> list[str]:
        where = self._where(iteration.number)
        failure = record.data.get("failure")
        if record.kind == "proposal":
            chosen = iteration.component or "nothing usable"
            return [f"{where}: the analyst chose {chosen}: {one_line(record.data['feedback'], TEXT_LIMIT)}"]
        if record.kind in ("check", "training", "score") and failure:
            name = {"check": f"check of attempt {record.data.get('attempt', 0) + 1}", "score": "prediction"}
            said = f"{name.get(record.kind, record.kind)} failed ({failure['reason']})"
            return [f"{where}: {said}: {one_line(failure['message'], TEXT_LIMIT)}"]
        if record.kind == "training":
            again = f" again (seed {record.data['replicate'] + 1})" if record.data.get("replicate") else ""
            return [f"{where}: trained{again} {trained(record.data)}"]
        if record.kind == "audit" and record.data["flagged"]:
            return [f"{where}: the audit flagged the score: {one_line(record.data['note'], TEXT_LIMIT)}"]
        return []

    def _opening(self, history: History) -> list[str]:
        run = history.run
        lines = [f"improve: {headline(run, history)}", f"images: {images(run)}"]
        lines.append(f"sandbox: {run['tier']}, {one_line(run['tier_description'])}")
        lines += [f"note: {one_line(note)}" for note in run["notes"]]
        return lines + [f"warning: {text}" for text in warnings(history)]

    def _tell(self, history: History) -> None:
        iteration = history.iteration(self._untold)
        self._untold = None
        if iteration is not None and iteration.verdict:
            told = outcome(iteration, TEXT_LIMIT)
            label = "" if told.label == "first" else f"{told.label} "
            parts = (f"{label}{self._writer.mark(told.verdict)} {told.said}", told.change, told.reason)
            self._line(f"{self._where(iteration.number)}: {'  '.join(filter(None, parts))}")

    def _where(self, number: int) -> str:
        history = self._progress.history
        return history.numbering.where(number, history.planned) if history else "first pipeline"

    def _line(self, text: str) -> None:
        self._last_line = self._progress.elapsed
        self._writer.line(f"[{duration(self._last_line)}] {self._name}{text}")
