"""The summarizer: what a step tried and what came of it, in a sentence or two without numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from improve.expert.recipe import settings_in

_OUTCOMES = (
    ("kept", "It was a little better, though not surely so, and was kept."),
    ("noise", "It was a little better, but by too little to tell it from chance, so it was not kept."),
    ("accepted", "It helped and was kept."),
    ("surpassed", "It helped, but another candidate of the same iteration helped more, and that one was kept."),
    ("rejected", "It did not help and was not kept."),
)
_FAILURES = (
    ("time", "It failed because it ran out of time."),
    ("memory", "It failed because it ran out of memory."),
    ("nan", "It failed because the training loss was no longer finite."),
    ("shape", "It failed because shapes did not fit each other."),
)


def summarize(step: Mapping[str, Any]) -> str:
    """The summarizer's reply. Numbers are left out: they are kept elsewhere."""
    verdict, feedback = str(step.get("verdict") or ""), str(step.get("feedback") or "")
    names, _ = settings_in(feedback)
    component = str(step.get("component") or "")
    changed = "All components were" if component == "all" else f"The {component} component was"
    if not component.isalpha():
        changed = "The pipeline was"
    first = str(step.get("iteration")) == "0"
    what = " and ".join(re.sub(r"\d+", "", name).replace("-", " ").strip() for name in names)
    if first:
        tried = "The first pipeline was trained."
    else:
        tried = f"{changed} changed {f'by the idea: {what}' if what else 'as the analyst asked'}."
    if "fail" in verdict:
        failure = str(step.get("failure") or "").lower()
        return f"{tried} {next((text for word, text in _FAILURES if word in failure), 'It failed and has no score.')}"
    if first and "accepted" in verdict:
        return f"{tried} It has a score, which the others are compared with."
    return f"{tried} {next((text for word, text in _OUTCOMES if word in verdict), 'Its outcome is not known.')}"
