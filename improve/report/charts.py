"""The geometry of the chart of scores: where each point, interval and step lies. Templates only draw it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from improve.display.text import interval, percent, points
from improve.domain import Verdict
from improve.record.history import History
from improve.record.iterations import Iteration

MARK_NAMES = {
    Verdict.ACCEPTED: "accepted",
    Verdict.KEPT: "kept",
    Verdict.SURPASSED: "surpassed",
    Verdict.REJECTED: "rejected",
    Verdict.WITHIN_NOISE: "noise",
    Verdict.FAILED: "failed",
}


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis, in SVG units."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """One iteration. `low` and `high` are the ends of its interval; None where it has no score."""

    number: int
    component: str
    mark: str
    x: float
    y: float
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True)
class ScoreChart:
    """Accuracy on the selection images by iteration, in SVG units; `best` is the `d` of the best-so-far line."""

    name: str
    width: float
    height: float
    left: float
    right: float
    bottom: float
    points: tuple[Point, ...]
    best: str
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two bounds, at most `most` of them (and at least one step of them)."""
    raw = (high - low) / max(1, most)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def score_chart(history: History, name: str, width: float, height: float) -> ScoreChart | None:
    """The chart at one size; None while there is no iteration with a verdict."""
    judged = [iteration for iteration in history.iterations if iteration.outcome]
    if not judged:
        return None
    frame = _Frame(judged, max(history.planned_candidates, judged[-1].number), width, height)
    marked = tuple(_point(iteration, history, frame) for iteration in judged)
    iterations = history.numbering.iteration(frame.last)
    every = max(1, math.ceil(iterations / (width / 45)))
    return ScoreChart(
        name=name,
        width=width,
        height=height,
        left=frame.left,
        right=frame.right,
        bottom=frame.bottom,
        points=marked,
        best=_best_line(judged, frame),
        y_ticks=tuple(Tick(frame.y(value), f"{100 * value:g}%") for value in ticks(frame.low, frame.high, 5)),
        x_ticks=tuple(
            Tick(frame.x(statistics.fmean(history.numbering.numbers(n))), "first" if n == 0 else str(n))
            for n in range(0, iterations + 1, every)
        ),
    )


class _Frame:
    """Turns iterations and accuracies into positions. Below the scores, a lane is kept for those without one."""

    top, left = 14.0, 48.0

    def __init__(self, judged: list[Iteration], last: int, width: float, height: float) -> None:
        intervals = [iteration.interval for iteration in judged if iteration.interval]
        low = min((ends[0] for ends in intervals), default=0.0)
        high = max((ends[1] for ends in intervals), default=1.0)
        margin = max(0.01, 0.06 * (high - low))
        self.low, self.high = max(0.0, low - margin), min(1.0, high + margin)
        self.last = last
        self.right = width - 14.0
        self.bottom = height - 44.0
        self.lane = self.bottom - (14.0 if any(iteration.accuracy is None for iteration in judged) else 0.0)

    def x(self, number: float) -> float:
        inset = 22.0
        span = self.right - self.left - 2 * inset
        return round(self.left + inset + span * (number / self.last if self.last else 0.5), 1)

    def y(self, accuracy: float) -> float:
        floor = self.lane - (10.0 if self.lane < self.bottom else 0.0)
        return round(self.top + (floor - self.top) * (self.high - accuracy) / (self.high - self.low), 1)


def _point(iteration: Iteration, history: History, frame: _Frame) -> Point:
    assert iteration.outcome is not None
    where = history.where(iteration.number).capitalize() + (f", {iteration.label}" if iteration.number else "")
    title = f"{where}: {iteration.outcome.value}"
    accuracy, ends = iteration.accuracy, iteration.interval
    if accuracy is not None and ends is not None:
        title += f", {percent(accuracy)} ({interval(*ends)})"
        if iteration.gain is not None:
            title += f", {points(iteration.gain)}"
    return Point(
        number=iteration.number,
        component=iteration.label if iteration.label in ("data", "model", "training") else "all",
        mark=MARK_NAMES[iteration.outcome],
        x=frame.x(iteration.number),
        y=frame.lane if accuracy is None else frame.y(accuracy),
        low=frame.y(ends[0]) if ends else None,
        high=frame.y(ends[1]) if ends else None,
        title=title,
    )


def _best_line(judged: list[Iteration], frame: _Frame) -> str:
    """Steps through the accuracy of the incumbent after each verdict."""
    path: list[str] = []
    for iteration in judged:
        accuracy = iteration.best_accuracy
        if accuracy is not None:
            x, y = frame.x(iteration.number), frame.y(accuracy)
            path.append(f"H{x} V{y}" if path else f"M{x} {y}")
    if path and judged[-1].number < frame.last:
        path.append(f"h{min(22.0, frame.right - frame.x(judged[-1].number))}")
    return " ".join(path)
