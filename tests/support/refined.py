"""Journals of made-up runs with known gains and costs, written through the real `Journal`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from improve.record.journal import Journal

FAILED = None  # a gain: the candidate had no score


@dataclass
class Refined:
    """What a run is to look like. `tokens`, `usd` and `fit_seconds` have one value more than `gains`: the first
    pipeline's. A gain of 0 is a rejected candidate, below 0 too. `tests`: test accuracies of the first and of the best
    pipeline, out of 10,000 images; none were scored if it is empty. `first` None: no pipeline of the run has a score.
    """

    gains: Sequence[float | None]
    tokens: Sequence[int]
    strategy: str = "iterative"
    dataset: str = "shapes"
    llm: str = "gpt-4o"
    seed: int = 0
    usd: Sequence[float | None] = ()
    fit_seconds: Sequence[float] = ()
    first: float | None = 0.2
    finished: bool = True
    protocol: str = "honest"
    study: str = ""
    tests: Sequence[float] = ()
    verified: bool = True
    model: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # group → key → value
    strata: Mapping[str, Sequence[int]] = field(default_factory=dict)
    components: Sequence[str] = ("model",)  # what the iterations change, in turn
    seconds: float = 1.0  # of the whole run

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        journal = Journal(folder)
        try:
            self._write(journal, folder.name)
        finally:
            journal.close()
        return folder

    def _write(self, journal: Journal, name: str) -> None:
        def note(key: str, kind: str, **data: Any) -> None:
            journal.once(key, kind, lambda: data)

        note("run", "run", **self._run(name))
        best, incumbent = self.first, None
        for number, gain in enumerate([self.first, *self.gains]):
            scored = best is not None and gain is not FAILED
            self._spend(note, number, scored)
            accepted = scored and (number == 0 or gain > 0)
            if scored:
                accuracy = self.first if number == 0 else best + (gain if accepted else -0.01)
                best = accuracy if accepted else best
                note(f"score-{number}", "score", iteration=number, failure=None, accuracy=accuracy)
            incumbent = number if accepted else incumbent
            verdict = "accepted" if accepted else "rejected" if scored else "failed"
            component = self.components[number % len(self.components)] if number else "all"
            said = {"iteration": number, "verdict": verdict, "component": component, "note": "", "incumbent": incumbent}
            note(f"verdict-{number}", "verdict", **said)
        for which, accuracy in zip(("first", "best"), self.tests, strict=False):
            test = {"which": which, "iteration": 0 if which == "first" else incumbent, "failure": None}
            counts = {"correct": round(10_000 * accuracy), "total": 10_000, "accuracy": accuracy}
            note(f"test-{which}", "test", **test, **counts, strata=dict(self.strata))
        if self.finished:
            note("finished", "finished", reason="all iterations done", best=incumbent, total_seconds=self.seconds)

    def _run(self, name: str) -> dict[str, Any]:
        config: dict[str, dict[str, Any]] = {
            "dataset": {"name": self.dataset},
            "strategy": {"name": self.strategy, "iterations": len(self.gains)},
            "llm": {"name": self.llm, "model": self.model or f"openai/{self.llm}"},
        }
        for group, values in self.settings.items():
            config[group] = {**config.get(group, {}), **values}
        return {
            "name": name,
            "study": self.study,
            "config": {**config, "seed": self.seed, "protocol": self.protocol},
            "dataset": {"name": self.dataset, "fingerprint": f"{self.dataset}-{self.protocol}"},
            "hardware": "2 CPU cores, no GPU",
            "notes": [],
            "tier": "T3" if self.verified else "T0",
            "verified": self.verified,
        }

    def _spend(self, note: Any, number: int, scored: bool) -> None:
        tokens = {"input": self.tokens[number], "cached": 0, "reasoning": 0, "output": 0}
        usd = self.usd[number] if self.usd else None
        call = {"role": "analyst", "model": "a/model", "tokens": tokens, "usd": usd, "call_seconds": 1.0}
        note(f"llm-{number}", "llm", iteration=number, **call)
        if self.fit_seconds:
            reason = None if scored else {"reason": "timeout", "message": "", "component": None, "detail": ""}
            seconds = self.fit_seconds[number]
            note(f"training-{number}", "training", iteration=number, failure=reason, fit_seconds=seconds)
