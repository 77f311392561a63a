"""The races of one run: who has been trained how often, who is ahead, and what all trainings show of luck."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from improve.judging.acceptance import Further, Judgement, Race, Rule, without_comparison
from improve.judging.evidence import Shown, Tally, shown


@dataclass
class Entry:
    """A pipeline that has a score: the iteration that it came from, and its trainings as rows of the tally.

    `replicates`: the number of each training among all of the pipeline, of which some may have failed.
    """

    iteration: int
    rows: list[int] = field(default_factory=list)
    replicates: list[int] = field(default_factory=list)


class Standings:
    """All trainings of a run that have a score on the selection images. Raises `ValueError` if their images differ."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.entries: list[Entry] = []
        self.incumbent: Entry | None = None
        self._right: list[NDArray[np.bool_]] = []
        self._races = self._further = 0

    def enter(self, iteration: int, right: NDArray[np.bool_]) -> Entry:
        """A candidate with its first training: which images it gets right."""
        entry = Entry(iteration)
        self.entries.append(entry)
        self._races += self.incumbent is not None
        self._append(entry, right, 0)
        return entry

    def add(self, entry: Entry, right: NDArray[np.bool_], replicate: int) -> None:
        """One more training of a pipeline."""
        self._further += 1
        self._append(entry, right, replicate)

    def judge(self, candidate: Entry, final: bool = False, asked: int = 0) -> Judgement | Further:
        """The verdict on a candidate, or who is to be trained again; `final`: nobody can be.

        `asked`: further trainings that others have asked for and that are not there yet.
        """
        if self.incumbent is None:
            return without_comparison(has_score=True)
        tally = self.tally()
        others = [entry for entry in self.entries if entry not in (candidate, self.incumbent)]
        seen = sum((shown(tally, entry.rows) for entry in others), Shown())
        return self.rule.judge(
            Race(tally, candidate.rows, self.incumbent.rows, seen, self._races, self._further + asked, final)
        )

    def replace(self, candidate: Entry) -> None:
        """The candidate becomes the incumbent."""
        self.incumbent = candidate

    def tally(self) -> Tally:
        return Tally.of(np.array(self._right))

    def shown(self) -> Shown:
        """What all trainings show of luck."""
        tally = self.tally()
        return sum((shown(tally, entry.rows) for entry in self.entries), Shown())

    def accuracy(self, entry: Entry) -> float:
        """Mean over its trainings."""
        return float(np.mean([self._right[row].mean() for row in entry.rows]))

    @property
    def races(self) -> int:
        """How many candidates have been compared with an incumbent."""
        return self._races

    def _append(self, entry: Entry, right: NDArray[np.bool_], replicate: int) -> None:
        if self._right and right.shape != self._right[0].shape:
            raise ValueError(f"answers to {right.shape} images, where the others have {self._right[0].shape}")
        entry.rows.append(len(self._right))
        entry.replicates.append(replicate)
        self._right.append(right.astype(bool))
