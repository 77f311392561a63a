"""What the page of a run shows, as plain values: every decision on content is made here, templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from improve.display.sentences import (
    asking,
    comparison,
    doubt,
    images,
    not_accepted,
    replays,
    tries,
    unpriced,
    warnings,
)
from improve.display.text import clean, cut_middle, last_overwritten, llm_name, one_line, percent
from improve.domain import COMPONENTS, Verdict
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.kinds import GainRecord, LLMRecord, TestRecord
from improve.report.charts import MARK_NAMES, score_chart
from improve.report.confusion import confusion
from improve.report.curves import curve_charts
from improve.report.diffs import Diff, diff
from improve.report.files import RunFiles, data_uri
from improve.spending.costs import by_role, call_tokens

LOG_BYTES = 12_000
CALL_CHARACTERS = 40_000
WORST_IMAGES = 24


@dataclass(frozen=True)
class CallView:
    """One call of a language model, with its prompt and reply as text."""

    role: str
    title: str
    tokens: int
    text: str


@dataclass(frozen=True)
class Source:
    component: str
    text: str


@dataclass(frozen=True)
class Image:
    """One of the images that the best pipeline got most confidently wrong."""

    uri: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class ClassView:
    """Some training images of one class, as a data URI, and how many there are."""

    name: str
    total: int
    uri: str


def run_view(history: History, files: RunFiles, running: bool = False) -> dict[str, Any]:
    """The page's content from a run's history and the files that its records name. `running`: it goes on just now."""
    names = [str(name) for name in history.run["dataset"].get("class_names", [])]
    test = history.best_test if history.best_test and not history.best_test["failure"] else None
    best = history.iteration(history.best)
    charts = (score_chart(history, "wide", 920, 340), score_chart(history, "narrow", 360, 300))
    return {
        "history": history,
        "headline": _headline(history),
        "story": _story(history, running),
        "warnings": warnings(history),
        "doubt": doubt(history),
        "llm": llm_name(history.llm, history.rule_based),
        "accepted": history.count(Verdict.ACCEPTED),
        "others": not_accepted(history),
        "components": _components(history),
        "charts": [chart for chart in charts if chart is not None],
        "iterations": [_iteration(iteration, history, files) for iteration in history.iterations],
        "best_sources": sources_of(best, files) if best else (),
        "confusion": confusion(test["confusion"], names) if test else None,
        "worst": _worst(test, files) if test else (),
        "classes": _classes(history, files),
        "costs": by_role(history.asked),
        "replays": replays(history),
        "unpriced": unpriced(history),
        "asking": asking(history),
        "config": yaml.safe_dump(history.run["config"], sort_keys=False, allow_unicode=True),
    }


def _components(history: History) -> list[tuple[str, GainRecord]]:
    """What each component gained, the most first."""
    found = history.claims["components"] if history.claims else {}
    return sorted(found.items(), key=lambda item: -item[1]["effect"])


def _headline(history: History) -> str:
    task = f"Sorting images into {len(history.run['dataset'].get('class_names', []))} classes"
    first, best = history.first_test, history.best_test
    if best and not best["failure"]:
        # What is delivered is what a headline is about, be it one training or several together.
        delivered = percent(history.ensemble["accuracy"] if history.ensemble else best["accuracy"])
        if first and not first["failure"] and first["iteration"] != best["iteration"]:
            return f"{task}: from {percent(first['accuracy'])} to {delivered} correct"
        return f"{task}: {delivered} correct"
    return task


def _story(history: History, running: bool) -> list[str]:
    """What happened, for someone who was not there."""
    dataset = one_line(str(history.run["dataset"].get("name", "?")), 80)
    who = (
        "A rule-based expert (no language model was used)"
        if history.rule_based
        else f"The language model {one_line(str(history.run['config'].get('llm', {}).get('name', '?')), 80)}"
    )
    tried = tries(history)
    said = [f"{who} wrote a program that sorts the images of “{dataset}” ({images(history.run)}) and tried {tried}."]
    if history.judged:
        kept = history.count(Verdict.ACCEPTED) or "none"
        what = "A change" if history.refines else "A further pipeline"
        rule = "accepted only if it is surely better on images whose labels it cannot see"
        said.append(f"{what} is {rule}; {kept} of them passed.")
    if history.finished is not None and history.ended_by_budget:
        said.append(f"It ended before all {history.planned} iterations: {one_line(history.finished['reason'])}")
    if history.finished is None:
        said.append(_unfinished(history, running))
    elif history.best_test is None:
        said.append("No pipeline could be scored, so there is no result.")
    else:
        used = "that also chose the pipelines" if history.paper_protocol else "that no decision had used"
        total = history.best_test["total"]
        said.append(f"At the end, {total:,} test images {used} were scored once. {_compared(history)}")
    return said


def _compared(history: History) -> str:
    """The best pipeline against the first: over all of their trainings, which single scores above do not show."""
    said = comparison(history)
    return f"Best against first, over their trainings: {said}" if said[:1] in "+-" else said


def _unfinished(history: History, running: bool) -> str:
    at = history.numbering.iteration(history.iterations[-1].number if history.iterations else 0)
    where = f"iteration {at} of {history.planned}" if at else "the first pipeline"
    said = f"This run is not finished: the record ends in {where}. The command that started it continues it."
    if running:
        said = f"This run is going on: it is at {where}. What comes appears here by itself."
    best = history.iteration(history.best)
    if best is None or best.accuracy is None:
        return said
    return f"{said} The best pipeline so far gets {percent(best.accuracy)} of the selection images right."


def _iteration(iteration: Iteration, history: History, files: RunFiles) -> dict[str, Any]:
    """One iteration: its facts, and what its files hold. It has `sources` where there is no parent to compare."""
    candidate = iteration.candidate
    folder = candidate["folder"] if candidate else ""
    parent = history.iteration(candidate["parent"]) if candidate and candidate["parent"] is not None else None
    compared = parent is not None and parent.candidate is not None
    metrics = files.text(f"{folder}/metrics.csv") if folder else None
    return {
        "facts": iteration,
        "mark": MARK_NAMES[iteration.outcome] if iteration.outcome else "open",
        "diffs": diffs_of(iteration, parent, files) if compared and parent else (),
        "sources": () if compared else sources_of(iteration, files),
        "curves": curve_charts(metrics) if metrics else (),
        "log": _log(f"{folder}/log.txt", files) if folder else None,
        "samples": _samples(iteration, files),  # augmented training images, as a data URI
        "calls": [_call(call, files) for call in iteration.calls],
    }


def _log(name: str, files: RunFiles) -> str | None:
    text = files.tail(name, LOG_BYTES)
    return None if text is None else last_overwritten(text)


def diffs_of(iteration: Iteration, parent: Iteration, files: RunFiles) -> tuple[Diff, ...]:
    """What a candidate changed in its parent's components."""
    before = {source.component: source.text for source in sources_of(parent, files)}
    after = {source.component: source.text for source in sources_of(iteration, files)}
    changed = iteration.candidate["changed"] if iteration.candidate else []
    return tuple(
        diff(name, before[name], after[name])
        for name in COMPONENTS
        if name in changed and name in before and name in after
    )


def sources_of(iteration: Iteration, files: RunFiles) -> tuple[Source, ...]:
    """The components of a candidate, as far as their files can be read."""
    if iteration.candidate is None:
        return ()
    folder = iteration.candidate["folder"]
    read = ((name, files.text(f"{folder}/{name}.py")) for name in COMPONENTS)
    return tuple(Source(name, clean(text)) for name, text in read if text is not None)


def _call(call: LLMRecord, files: RunFiles) -> CallView:
    again = f", try {call['attempt'] + 1}" if call["attempt"] else ""
    return CallView(
        role=call["role"],
        title=f"{call['role'].replace('_', ' ')}{again}",
        tokens=call_tokens(call),
        text=cut_middle(files.text(call["file"]) or call["reply"], CALL_CHARACTERS),
    )


def _worst(test: TestRecord, files: RunFiles) -> tuple[Image, ...]:
    found = []
    for entry in test["worst"][:WORST_IMAGES]:
        uri = _picture(str(entry["file"]), files)
        if uri is not None:
            confidence = float(entry["confidence"])
            found.append(Image(uri, str(entry["true"]), str(entry["predicted"]), confidence))
    return tuple(found)


def _picture(name: str, files: RunFiles) -> str | None:
    """A PNG file of the run as a data URI."""
    raw = files.png(name)
    return None if raw is None else data_uri("image/png", raw)


def _classes(history: History, files: RunFiles) -> tuple[ClassView, ...]:
    shown = history.data_audit["classes"] if history.data_audit else []
    pictures = ((entry, _picture(str(entry["file"]), files)) for entry in shown)
    return tuple(ClassView(str(entry["name"]), int(entry["images"]), uri) for entry, uri in pictures if uri is not None)


def _samples(iteration: Iteration, files: RunFiles) -> str | None:
    """What a data component that was kept makes of training images."""
    training = iteration.training
    # Runs of earlier versions have no samples.
    name = training.get("samples") if training and iteration.replaces else None
    return _picture(name, files) if name else None
