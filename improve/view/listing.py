"""The list of runs as plain values, for its template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from improve import __version__
from improve.display.text import money, percent, time_taken
from improve.report.page import Live, render
from improve.report.study.runs import StudyRun
from improve.view.outputs import RUNNING, Seen

NONE = "—"
MARKS = {
    "†": "† the test images also chose the pipelines (protocol: paper)",
    "‡": "‡ unverified: generated code ran without isolation",
}


def listing(folder: Path, seen: Sequence[Seen], tag: str) -> str:
    """The page of all runs: those that go on first, then the newest."""
    ordered = sorted(seen, key=_begun, reverse=True)
    ordered.sort(key=lambda one: one.state != RUNNING)
    studies = sorted({one.run.study for one in seen if one.run and one.run.study})
    return render(
        "runs.html.j2",
        Live(tag),
        folder=str(folder),
        studies=[{"name": name, "link": study_link(name), "counts": _counts(name, seen)} for name in studies],
        runs=(rows := [_row(one) for one in ordered]),
        marks=[what for mark, what in MARKS.items() if any(mark in row["cells"].get("Test", "") for row in rows)],
        version=__version__,
    )


def run_link(name: str) -> str:
    return f"/run/{quote(name)}"


def study_link(name: str) -> str:
    return f"/study/{quote(name, safe='')}"


def _begun(seen: Seen) -> str:
    return seen.run.started_at if seen.run else ""


def _counts(study: str, seen: Sequence[Seen]) -> dict[str, int]:
    """How many of the study's runs are in which state."""
    states = [one.state for one in seen if one.run and one.run.study == study]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _row(seen: Seen) -> dict[str, Any]:
    run = seen.run
    if run is None:
        return {"name": seen.name, "link": "", "state": seen.state, "why": seen.why, "cells": {}}
    settings = run.settings
    return {
        "name": seen.name,
        "link": run_link(seen.name),
        "state": seen.state,
        "why": run.why if seen.state != RUNNING else "",
        "cells": {
            "Dataset": settings["dataset.name"],
            "Language model": settings["llm.name"] + (" (rule-based expert)" if run.rule_based else ""),
            "Strategy": settings["strategy.name"].replace("_", " "),
            "Iterations": _iterations(run),
            "Selection": _best(run),
            "Test": _tested(run),
            "Money": NONE if run.rule_based else money(run.usd, False),
            "Time": time_taken(60 * run.minutes),
        },
    }


def _iterations(run: StudyRun) -> str:
    """ "3 of 8"; of an iteration with several candidates each is counted."""
    planned, candidates = (run.settings.get(f"strategy.{key}", "") for key in ("iterations", "candidates"))
    several = int(candidates) if candidates.isdecimal() else 1
    total = f"{int(planned) * several}" if planned.isdecimal() else "?"
    return f"{max(0, len(run.steps) - 1)} of {total}" + (" candidates" if several > 1 else "")


def _best(run: StudyRun) -> str:
    """The best pipeline's accuracy on the selection images."""
    return NONE if run.selection is None else percent(run.selection)


def _tested(run: StudyRun) -> str:
    doubt = ("†" if run.paper_protocol else "") + ("" if run.verified else "‡")
    if run.accuracy is None:
        return NONE
    first = "" if run.first is None or len(run.steps) < 2 else f"{percent(run.first)} → "
    return f"{first}{percent(run.accuracy)}{doubt}"
