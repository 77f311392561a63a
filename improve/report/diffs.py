"""What a candidate changed: a unified diff of each component against its parent's."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from improve.display.text import clean

MOST_LINES = 1500
KINDS = {"+": "added", "-": "removed", "@": "place", " ": "same"}


@dataclass(frozen=True)
class DiffLine:
    kind: str  # added, removed, place, same
    text: str


@dataclass(frozen=True)
class Diff:
    """The changed lines of one component, with some around them. `added` and `removed` count lines."""

    component: str
    lines: tuple[DiffLine, ...]
    added: int
    removed: int
    left_out: int


def diff(component: str, before: str, after: str) -> Diff:
    """The unified diff of two sources, without its header of file names."""
    old, new = clean(before).splitlines(), clean(after).splitlines()
    unified = list(difflib.unified_diff(old[:MOST_LINES], new[:MOST_LINES], lineterm="", n=3))[2:]
    lines = tuple(DiffLine(KINDS.get(line[:1], "same"), line) for line in unified)
    return Diff(
        component=component,
        lines=lines,
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
        left_out=max(0, len(old) - MOST_LINES, len(new) - MOST_LINES),
    )
