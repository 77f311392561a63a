"""What a candidate changed: a unified diff of each component against its parent's."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from markupsafe import Markup

from improve.display.text import clean
from improve.report.code import coloured_lines

MOST_LINES = 1500
AROUND = 3  # unchanged lines before and after a change


@dataclass(frozen=True)
class DiffLine:
    """`text` begins with its sign, as in a unified diff; `code` is the same in colour, as HTML."""

    kind: str  # added, removed, place, same
    text: str
    code: Markup


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
    own, others = coloured_lines("\n".join(old)), coloured_lines("\n".join(new))
    matcher = difflib.SequenceMatcher(None, old[:MOST_LINES], new[:MOST_LINES])
    lines = []
    for group in matcher.get_grouped_opcodes(AROUND):
        place = f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@"
        lines.append(DiffLine("place", place, Markup(place)))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [DiffLine("same", f" {old[i]}", " " + own[i]) for i in range(i1, i2)]
            else:
                lines += [DiffLine("removed", f"-{old[i]}", "-" + own[i]) for i in range(i1, i2)]
                lines += [DiffLine("added", f"+{new[j]}", "+" + others[j]) for j in range(j1, j2)]
    return Diff(
        component=component,
        lines=tuple(lines),
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
        left_out=max(0, len(old) - MOST_LINES, len(new) - MOST_LINES),
    )


def _range(start: int, stop: int) -> str:
    """Lines counted from 1, as unified diffs write them."""
    length = stop - start
    begins = start + 1 if length else start
    return f"{begins}" if length == 1 else f"{begins},{length}"
