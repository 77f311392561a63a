"""Journals of made-up runs with known gains and costs, written through the real `Journal`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.journal import Journal

FAILED = None  # a gain: the candidate had no score


@dataclass
class Refined:
    """What a run is to look like. `tokens`, `usd` and `fit_seconds` have one value more than `gains`: the first
    pipeline's. A gain of 0 is a rejected candidate, below 0 too.
    """

    gains: Sequence[float | None]
    tokens: Sequence[int]
    strategy: str = "iterative"
    dataset: str = "shapes"
    llm: str = "gpt-4o"
    seed: int = 0
    usd: Sequence[float | None] = ()
    fit_seconds: Sequence[float] = ()
    first: float = 0.2
    finished: bool = True
    protocol: str = "honest"

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        journal = Journal(folder)
        try:
            self._write(journal)
        finally:
            journal.close()
        return folder

    def _write(self, journal: Journal) -> None:
        def note(key: str, kind: str, **data: Any) -> None:
            journal.once(key, kind, lambda: data)

        config = {
            "strategy": {"name": self.strategy, "iterations": len(self.gains)},
            "llm": {"name": self.llm, "model": f"openai/{self.llm}"},
            "seed": self.seed,
            "protocol": self.protocol,
        }
        note("run", "run", name="made up", config=config, dataset={"name": self.dataset}, notes=[])
        best, incumbent = self.first, None
        for number, gain in enumerate([self.first, *self.gains]):
            self._spend(note, number)
            accepted = number == 0 or (gain is not FAILED and gain > 0)
            if gain is not FAILED:
                accuracy = self.first if number == 0 else best + (gain if accepted else -0.01)
                best = accuracy if accepted else best
                note(f"score-{number}", "score", iteration=number, failure=None, accuracy=accuracy)
            incumbent = number if accepted else incumbent
            verdict = "accepted" if accepted else "failed" if gain is FAILED else "rejected"
            note(f"verdict-{number}", "verdict", iteration=number, verdict=verdict, note="", incumbent=incumbent)
        if self.finished:
            note("finished", "finished", reason="all iterations done", best=incumbent, total_seconds=1.0)

    def _spend(self, note: Any, number: int) -> None:
        tokens = {"input": self.tokens[number], "cached": 0, "reasoning": 0, "output": 0}
        usd = self.usd[number] if self.usd else None
        note(
            f"llm-{number}",
            "llm",
            iteration=number,
            role="analyst",
            model="a/model",
            tokens=tokens,
            usd=usd,
            call_seconds=1.0,
        )
        if self.fit_seconds:
            seconds = self.fit_seconds[number]
            note(f"training-{number}", "training", iteration=number, failure=None, fit_seconds=seconds)
