"""Cells started before they are needed: a start takes a few tenths of a second of a core that is free meanwhile."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Literal

from improve.execution.cell import Cell

Kind = Literal["smoke", "fit", "samples", "predict", "audit", "test"]
Key = tuple[Kind, int]  # what it is for, and the iteration


class WarmCells:
    """`open_cell` starts the cell of a key; it is called from a thread of ours, or by whoever takes the cell.

    Several threads may expect and take cells, each those of its own keys; `discard` is for when they do not.
    """

    def __init__(self, open_cell: Callable[[Key], Cell]) -> None:
        self._open = open_cell
        self._queue = concurrent.futures.ThreadPoolExecutor(1, "warm-up")
        self._cells: dict[Key, concurrent.futures.Future[Cell]] = {}
        self._warming: Cell | None = None

    def expect(self, key: Key) -> None:
        """Have this cell started when those expected before it are ready."""
        if key not in self._cells:
            self._cells[key] = self._queue.submit(self._warm, key)

    def take(self, key: Key) -> Cell:
        """The cell, ready or started now. It is the caller's from now on. Raises what its start raises."""
        future = self._cells.pop(key, None)
        if future is None or future.cancel():
            return self._open(key)
        cell = future.result()
        if cell.alive:
            return cell
        cell.close()
        return self._open(key)

    def discard(self, unwanted: Callable[[Key], bool]) -> None:
        """End these cells, started or not."""
        for key in [key for key in self._cells if unwanted(key)]:
            self._end(self._cells.pop(key))

    def close(self) -> None:
        """End all cells, also one that is just being started."""
        for future in self._cells.values():
            future.cancel()
        self.discard(lambda key: True)
        self._queue.shutdown()

    def _warm(self, key: Key) -> Cell:
        self._warming = cell = self._open(key)
        cell.warm_up()
        self._warming = None
        return cell

    def _end(self, future: concurrent.futures.Future[Cell]) -> None:
        if future.cancel():
            return
        warming = self._warming
        if warming is not None and not future.done():
            warming.kill()  # it is this one, for there is one at a time: nobody waits for its imports
        if future.exception() is None:  # what a start raised is told to whoever takes the cell, and nobody will
            future.result().close()
