"""What each of the trainings that go side by side has for itself: its share of the cores, and a GPU."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lane:
    """Cores and the number of a GPU (None: whatever the machine has)."""

    cores: tuple[int, ...] = ()  # none: all
    gpu: int | None = None

    def record(self) -> dict[str, Any]:
        """As `template/worker.py` takes it."""
        return {"cores": list(self.cores), "gpu": self.gpu}


class Lanes:
    """As many lanes as there are slots. A training that is alone has no more than its own, so that the speed that its
    length is planned by is the one that it would have beside others."""

    def __init__(self, slots: int, cores: Sequence[int], gpus: int) -> None:
        """`cores`: the numbers of those that may be used, none: not divided; `gpus`: how many to have one of."""
        self._free: queue.PriorityQueue[tuple[int, Lane]] = queue.PriorityQueue()
        for slot in range(slots):
            if slots == 1 or not cores:
                self._free.put((slot, Lane()))
                continue
            # Neighbours in number often share a core's halves, or a cache: blocks keep them in one lane.
            own = tuple(cores[slot * len(cores) // slots : (slot + 1) * len(cores) // slots])
            lane = Lane(own or (cores[slot % len(cores)],), slot % gpus if gpus else None)
            self._free.put((slot, lane))

    @contextmanager
    def one(self) -> Iterator[Lane]:
        """A lane that nobody else has meanwhile: the first that is free."""
        taken = self._free.get()
        try:
            yield taken[1]
        finally:
            self._free.put(taken)
