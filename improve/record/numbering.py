"""How candidates are numbered in a run: 0 is the first pipeline, then come those of each iteration in turn.

All records and files of a candidate are under its number, which a journal calls `iteration`: where an iteration has one
candidate, as is usual, both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Numbering:
    """Of a run with so many `candidates` an iteration. Iteration 0 has one, the first pipeline."""

    candidates: int = 1

    def numbers(self, iteration: int) -> range:
        """The candidates of an iteration."""
        last = iteration * self.candidates
        return range(last - self.candidates + 1, last + 1) if iteration else range(1)

    def iteration(self, number: int) -> int:
        """The iteration that a candidate belongs to."""
        return -(-number // self.candidates)

    def place(self, number: int) -> int:
        """Which of its iteration's candidates it is, from 1; 0 where there is but one."""
        return (number - 1) % self.candidates + 1 if number and self.candidates > 1 else 0

    def short(self, number: int) -> str:
        """ "3", or "3.2" for the second candidate of iteration 3."""
        place = self.place(number)
        return f"{self.iteration(number)}.{place}" if place else str(self.iteration(number))

    def at(self, number: int, of: int | None = None) -> str:
        """ "iteration 3", "iteration 3, candidate 2"; with `of` iterations "iteration 3 of 8 …"."""
        place = self.place(number)
        total = "" if of is None else f" of {of}"
        return f"iteration {self.iteration(number)}{total}" + (f", candidate {place}" if place else "")

    def where(self, number: int, of: int | None = None) -> str:
        """As `at`, but "first pipeline" for that."""
        return self.at(number, of) if number else "first pipeline"
