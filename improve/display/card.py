"""The card at the end of a run: what was reached, whether it can be believed, what it cost, what to type next."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from improve.config.invocation import command
from improve.display.sentences import (
    accepted_sentence,
    asking,
    comparison,
    component_gains,
    delivered,
    doubt,
    ensemble_tested,
    gained,
    headline,
    refit_tested,
    replays,
    tokens_used,
    unpriced,
    warnings,
    with_interval,
)
from improve.display.terminal import Writer
from improve.display.text import count, interval, money, one_line, percent, time_taken
from improve.record.history import History
from improve.record.kinds import TestRecord

BEST = "best"  # the folder that a user takes away
PAGE = "run.html"

COPIED = ("model", "predict", "verify", "resume", "page", "folder")


@dataclass(frozen=True)
class Row:
    """A line of the card: a label (may be empty), its text, and a style that rich knows."""

    label: str
    text: str
    style: str = ""


def print_end_card(
    history: History, run_folder: Path, *, resume: str = "", tracked: str = "", stream: TextIO | None = None
) -> None:
    """Print the card, in colour on a terminal.

    `resume` is the command that continues an unfinished run, `tracked` what became of its tracking.
    """
    writer = Writer(stream or sys.stdout)
    rows = card_rows(history, run_folder, resume, tracked)
    width = max(len(row.label) for row in rows) + 2
    lines = [(f"  {row.label:<{width}}{row.text}".rstrip(), row.style) for row in rows]
    if not writer.stream.isatty():
        for line, _ in lines:
            writer.line(line)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=writer.stream, highlight=False, markup=False, emoji=False)
    for row, (line, style) in zip(rows, lines, strict=True):
        # What can be copied stays in one line, and no frame stands around it; sentences break between words.
        wrapped = [line] if row.label in COPIED else fill(line, console.width, " " * (width + 2))
        for part in wrapped:
            console.print(Text(writer.fit(part), style), soft_wrap=True)


def fill(line: str, width: int, indent: str) -> list[str]:
    """A line in several of at most `width` characters, broken between words alone; longer words stay whole."""
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [""]


def card_rows(history: History, run_folder: Path, resume: str = "", tracked: str = "") -> list[Row]:
    """The card's lines, from the headline to the commands."""
    run = history.run
    rows = [Row("", ""), Row("", f"improve: {_ending(history)}", "bold")]
    rows += [Row("", headline(run, history), "dim"), Row("", "")]
    rows += [Row("", text, "bold white on red") for text in warnings(history)]
    rows += _result(history)
    rows.append(Row("accepted", accepted_sentence(history)))
    components = component_gains(history)
    rows += (
        [Row("gained by", f"{components} points on the selection images, which chose the changes")]
        if components
        else []
    )
    rows += _cost(history)
    rows.append(Row("sandbox", f"{run['tier']}, {one_line(run['tier_description'])}"))
    if told := delivered(history):
        rows.append(Row("delivered", told, "" if history.is_delivered else "bold white on red"))
    rows += [Row("note", one_line(note), "yellow") for note in run["notes"]]
    if history.finished and history.link:
        rows.append(Row("record", f"{history.link}: with this line kept, nobody can change the journal unnoticed"))
    rows += [Row("W&B", one_line(tracked))] if tracked else []
    return [*rows, Row("", ""), *_commands(history, run_folder, resume), Row("", "")]


def _ending(history: History) -> str:
    if history.finished is None:
        return "stopped; a model is out of reach" if history.outage else "the run is not finished"
    return f"finished ({one_line(history.finished['reason'])})"


def _result(history: History) -> list[Row]:
    first, best = history.first_test, history.best_test
    rows = [
        Row(f"test, {name}", _tested(test) + doubt(history))
        for name, test in (("first", first), ("best", best))
        if test
    ]
    if rows:
        ensemble = ensemble_tested(history)
        rows += [Row("ensemble", ensemble)] if ensemble else []
        refit = refit_tested(history)
        rows += [Row("refit", refit)] if refit else []
        return [*rows, Row("", comparison(history), "bold green" if _gained(history) else "bold")]
    at = history.iteration(history.best)
    if at is None or at.score is None or at.accuracy is None:
        return [Row("test", "none: no pipeline has a score", "bold red")]
    selection = f"{percent(at.accuracy)}, 95% interval {interval(at.score['low'], at.score['high'])}"
    return [
        Row("test", "not yet: it is scored at the end"),
        Row("selection", f"best so far {selection}{doubt(history)}"),
    ]


def _cost(history: History) -> list[Row]:
    calls = f"{count(history.costs.total_tokens, 'token')} in {count(len(history.calls), 'call')}"
    paid = money(history.usd, history.rule_based)
    return [
        Row("cost", f"{calls}, {paid}, {time_taken(history.seconds)}"),
        *(Row("tokens", text) for text in (tokens_used(history),) if text),
        *(Row("price", text, "yellow") for text in (unpriced(history),) if text),
        *(Row("asking", text, "yellow") for text in asking(history)),
        *(Row("replay", text, "yellow") for text in (replays(history),) if text),
    ]


def _tested(test: TestRecord) -> str:
    if test["failure"]:
        return f"no score ({one_line(test['failure']['message'])})"
    return with_interval(test)


def _gained(history: History) -> bool:
    found = gained(history)
    return found is not None and found["low"] > 0


def _commands(history: History, run_folder: Path, resume: str) -> list[Row]:
    rows = []
    if history.finished and history.best is not None:
        rows.append(Row("model", f"{run_folder / BEST}"))
        rows.append(Row("predict", command("predict", str(run_folder), "IMAGES"), "bold"))
        rows.append(Row("verify", command("verify", str(run_folder))))
    if history.finished is None:
        rows.append(Row("resume", resume or "run the same command again", "bold"))
    page = run_folder / PAGE
    return [*rows, Row("page", str(page)) if history.finished or page.exists() else Row("folder", str(run_folder))]
