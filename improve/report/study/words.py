"""Sentences on a study: what it is, what must be said beside its numbers, what its reader should know."""

from __future__ import annotations

from collections.abc import Sequence

from improve.display.text import count, money, one_line, short_count, time_taken
from improve.record.history import PAPER_PROTOCOL
from improve.report.study.cells import Table
from improve.report.study.printed import dataset_label
from improve.report.study.runs import StudyRun

RULE_BASED = "llm=offline is a rule-based expert, no language model: what it reaches says nothing of one."


def headline(table: Table) -> str:
    """The study's name and what it is about."""
    if table.paper:
        return f"{table.name[:-1].capitalize()} {table.name[-1]}: {table.paper.title}"
    return f"Study {table.name}" if table.name else "Runs"


def story(table: Table) -> list[str]:
    """What was run, and what became of it."""
    runs = table.runs
    scored, failed, unfinished = (
        sum(run.state == state for run in runs) for state in ("scored", "failed", "unfinished")
    )
    datasets = sorted({dataset_label(row.dataset) for row in table.rows if _has_runs(table, row.dataset)})
    models = sorted({row.model for row in table.rows if any(cell.runs for cell in table.line(row))})
    missing = len(table.all()) - len(table.filled)
    said = [
        f"{count(len(runs), 'run')} on {', '.join(datasets)} by {', '.join(models)}: {scored} with a score, "
        f"{failed} failed, {unfinished} unfinished.",
        f"Together they took {spent(runs)}.",
    ]
    if missing:
        said.append(
            f"{missing} of the table's {count(len(table.all()), 'cell')} have no run; nothing stands in for them."
        )
    return said


def _has_runs(table: Table, dataset: str) -> bool:
    return any(cell.runs for cell in table.all() if cell.row.dataset == dataset)


def spent(runs: Sequence[StudyRun]) -> str:
    """Tokens, money and time of all the runs, whatever became of them; an unknown price is said to be."""
    tokens = short_count(sum(run.tokens for run in runs))
    limited = sum(run.rate_limited for run in runs)
    limits = f", {count(limited, 'call')} put off by a provider's rate limit (HTTP 429)" if limited else ""
    return f"{tokens} tokens, {_paid(runs)}, {time_taken(60 * sum(run.minutes for run in runs))} of run time{limits}"


def _paid(runs: Sequence[StudyRun]) -> str:
    known = sum(run.usd for run in runs if run.usd is not None)
    unknown = sum(run.usd is None for run in runs)
    if not unknown:
        return money(known, all(run.rule_based for run in runs))
    rest = f"{money(known, False)} and " if known else ""
    return f"{rest}an unknown price ({count(unknown, 'run')})"


def warnings(table: Table) -> list[str]:
    """What must be said beside every number of some of the runs."""
    said = []
    unverified = sum(not run.verified for run in table.runs)
    if unverified:
        said.append(
            f"‡ UNVERIFIED: {count(unverified, 'run')} without isolation (tier T0): generated code could have made "
            "its score up."
        )
    paper = sum(run.paper_protocol for run in table.runs)
    if paper:
        said.append(
            f"† {PAPER_PROTOCOL}: {count(paper, 'run')} whose test images also chose the pipelines; these scores are "
            "optimistic and stand apart from the others."
        )
    return said


def notes(table: Table) -> list[str]:
    """What a reader of the table should know of its runs."""
    runs = table.runs
    said = [RULE_BASED] if any(run.rule_based for run in runs) else []
    said += _departures(table)
    twice = sum(cell.n - len({run.seed for run in cell.scored}) for cell in table.filled)
    if twice:
        said.append(f"{count(twice, 'run')} with a seed that its cell already has: such runs may resemble each other.")
    for name, words in (("version", "versions of improve"), ("commit", "commits"), ("hardware", "machines")):
        values = sorted({run.origin[name] for run in runs})
        if len(values) > 1:
            said.append(f"The runs are of different {words}: {one_line('; '.join(values), 300)}.")
    return said


def endings(table: Table) -> list[str]:
    """Why runs have no score, or ended early: a sentence for each reason."""
    names: dict[str, list[str]] = {}
    for run in table.runs:
        if run.why:
            names.setdefault(run.why, []).append(run.name)
    return [one_line(f"{_named(same)}: {why}.") for why, same in names.items()]


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {count(len(names) - 1, 'other run')}"


def _departures(table: Table) -> list[str]:
    """How the runs that stand beside the paper's figures differ from the paper's."""
    if table.paper is None:
        return []
    beside = [run for cell in table.filled if cell.printed for run in cell.runs]
    found: dict[str, int] = {}
    for run in beside:
        for text in _differing(run, table):
            found[text] = found.get(text, 0) + 1
    if not found:
        return []
    listed = "; ".join(f"{text} in {number} of {len(beside)}" for text, number in sorted(found.items()))
    return [f"The runs beside the paper's figures were not made as the paper's: {listed}."]


def _differing(run: StudyRun, table: Table) -> list[str]:
    assert table.paper is not None
    refines = run.settings.get("strategy.name") != "zero_shot"
    found = []
    for key, wanted in table.paper.setup.items():
        value = run.settings.get(key, "null")
        if value != wanted and (refines or not key.startswith(("strategy.", "dataset.constraints."))):
            found.append(f"{key}={value} (the paper's: {wanted})")
    for key in ("dataset.subset", "dataset.train", "dataset.test"):
        value = run.settings.get(key, "null")
        if value != "null":
            found.append(f"{key}={value} (the paper's: all images)")
    return found
