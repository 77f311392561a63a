"""The training curves of a candidate, from its metrics.csv: self-reported numbers, shown and used for nothing."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

from improve.report.charts import Tick, ticks

WIDTH, HEIGHT = 340.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 8.0, 12.0, 26.0
MOST_EPOCHS = 2000
SERIES = (("train", "training part"), ("validation", "validation part"))


@dataclass(frozen=True)
class Curve:
    """A line of a chart: `path` is the `d` of an SVG path; `last` the value where it ends."""

    name: str
    words: str
    path: str
    last: float


@dataclass(frozen=True)
class CurveChart:
    """One quantity over the epochs, in SVG units."""

    quantity: str
    curves: tuple[Curve, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


def curve_charts(text: str) -> tuple[CurveChart, ...]:
    """A chart for accuracy and one for loss, as far as the file has usable numbers for at least two epochs."""
    rows = _rows(text)
    charts = (_chart(quantity, rows) for quantity in ("accuracy", "loss"))
    return tuple(chart for chart in charts if chart is not None)


def _rows(text: str) -> list[dict[str, float]]:
    rows = []
    try:
        for row in csv.DictReader(text.replace("\0", "").splitlines()):
            rows.append({str(name): number for name, cell in row.items() if (number := _number(cell)) is not None})
            if len(rows) == MOST_EPOCHS:
                break
    except csv.Error:
        # Not a table any more: generated code wrote it. What was read up to here is shown.
        return rows
    return rows


def _number(cell: object) -> float | None:
    """A finite number of sane size, or None."""
    try:
        number = float(cell) if isinstance(cell, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e9 else None


def _chart(quantity: str, rows: list[dict[str, float]]) -> CurveChart | None:
    series = {
        name: [(index + 1, row[f"{name}_{quantity}"]) for index, row in enumerate(rows) if f"{name}_{quantity}" in row]
        for name, _ in SERIES
    }
    values = [value for points in series.values() for _, value in points]
    if max((len(points) for points in series.values()), default=0) < 2:
        return None
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5

    def x(epoch: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, len(rows) - 1), 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    curves = tuple(
        Curve(name, words, "M" + " L".join(f"{x(e)} {y(v)}" for e, v in series[name]), series[name][-1][1])
        for name, words in SERIES
        if len(series[name]) > 1
    )
    marks = tuple(Tick(y(value), f"{value:g}") for value in ticks(low, high, 4))
    step = max(1, math.ceil(len(rows) / 6))
    epochs = tuple(Tick(x(epoch), str(epoch)) for epoch in range(1, len(rows) + 1, step))
    return CurveChart(quantity, curves, marks, epochs)
