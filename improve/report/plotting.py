"""How all figures look, and how they are written: SVG for pages and papers, PNG for the rest. Needs no display.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; series also differ by marker and dashes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from improve.display.text import clean
from improve.errors import ImproveError

LOCAL, GLOBAL, GUESS = "#0072b2", "#d55e00", "#999999"
INK, GRID = "#333333", "#e5e5e5"
_COLOURS = (LOCAL, GLOBAL, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", GUESS)
_MARKERS = "osD^vPX*"
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
SMALL = 9  # points: ticks and legends
WIDE = 30  # characters of a name, above which two do not stand beside each other
SIZE = (4.8, 3.8)  # inches of a single panel: a phone shows it about as large as it is printed


@dataclass(frozen=True)
class Style:
    """What a series is drawn with, wherever it appears."""

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[int, ...]]


def style(number: int) -> Style:
    """The style of the series of that number, from 0."""
    return Style(_COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)], _DASHES[number % len(_DASHES)])


def panel(title: str = "") -> tuple[Figure, Axes]:
    """One plot."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.add_subplot()
    _plain(axis)
    axis.tick_params(labelsize=SMALL)
    if title:
        figure.suptitle(title, fontsize=10.5)
    return figure, axis


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """`count` plots, two a row."""
    rows = (count + 1) // 2
    figure = Figure(figsize=(9.0, 3.4 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, min(2, count), number + 1) for number in range(count)]
    for one in axes:
        _plain(one)
    return figure, axes


def _plain(axis: Axes) -> None:
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def words(text: str) -> str:
    """Foreign text that matplotlib takes for nothing else (dollars begin a formula)."""
    return clean(text).replace("$", r"\$")


def percents(axis: Axis) -> None:
    """Show the fractions along an axis as percentages."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def legend(figure: Figure) -> None:
    """The names of the series below the plot, where they hide nothing."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        labels = [textwrap.fill(label, 2 * WIDE) for label in labels]
        columns = 1 if max(map(len, labels)) > WIDE or len(labels) == 1 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL)


def save(figure: Figure, folder: Path, name: str, creator: str = "improve") -> list[Path]:
    """Write NAME.svg and NAME.png; the same figure gives the same bytes. Raises `ImproveError` where it cannot.

    The SVG names its `creator`, by which `drop` knows it again.
    """
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(files[0], metadata={"Date": None, "Creator": creator})
            figure.savefig(files[1], dpi=150)
    except OSError as error:
        raise ImproveError(
            f"The figure cannot be written to {folder}: {error}", "give another folder: --out FOLDER"
        ) from None
    return files


def drop(folder: Path, creator: str, kept: Collection[str]) -> None:
    """Delete the figures of an earlier report: those of the same creator whose names are not among `kept`."""
    mark = f"<dc:title>{creator}</dc:title>"
    for svg in folder.glob("*.svg"):
        try:
            if svg.stem not in kept and mark in svg.read_text(encoding="utf-8", errors="replace"):
                svg.with_suffix(".png").unlink(missing_ok=True)
                svg.unlink()
        except FileNotFoundError:
            continue  # another report on the same study is being written
        except OSError as error:
            raise ImproveError(
                f"An earlier report's figure cannot be deleted from {folder}: {error}",
                "give another folder: --out FOLDER",
            ) from None
