"""Recorded runs as the theory sees them: those that refine, from their first pipeline with a score on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from improve.display.text import count
from improve.errors import DataError
from improve.report.study.runs import StudyRun, load_runs

LOCAL, GLOBAL = "iterative", "global"


def load(paths: Iterable[Path]) -> tuple[list[StudyRun], list[str]]:
    """The runs at or below the paths, each once, and a note for each that is of no use here, saying why.

    Their first step is the first pipeline with a score, which starts the gains; at least one more follows it. Raises
    `DataError` if no run is left.
    """
    found, notes = load_runs(paths)
    runs = []
    for run in found:
        scored = tuple(step for step in run.steps if step.best is not None)
        why = _of_no_use(run, len(scored))
        if why:
            notes.append(f"left out: {run.folder}: {why}")
        else:
            runs.append(dataclasses.replace(run, steps=scored))
    if not runs:
        reasons = "".join(f"\n  {note}" for note in notes)
        raise DataError(f"No run to fit: none with an iteration after its first pipeline.{reasons}", "give other runs")
    return runs, notes


def _of_no_use(run: StudyRun, scored: int) -> str:
    if strategy(run) not in (LOCAL, GLOBAL):
        return f"strategy {strategy(run)} does not refine a pipeline (only {LOCAL} and {GLOBAL} do)"
    if not scored:
        return "no pipeline has a score"
    return "no iteration after the first pipeline" if scored == 1 else ""


def strategy(run: StudyRun) -> str:
    return run.settings["strategy.name"]


def group(run: StudyRun) -> tuple[str, str]:
    """Gains and costs are compared within one data set and one language model."""
    return run.settings["dataset.name"], run.settings["llm.name"]


def gains(run: StudyRun) -> list[float]:
    """How much each iteration raised the best selection accuracy: 0 where its candidate was rejected or failed."""
    return [step.gain for step in run.steps[1:]]


def cautions(runs: Sequence[StudyRun]) -> list[str]:
    """What a reader of fits to these runs must know, a sentence each."""
    said = ["Gains are those of the best score on the selection images, which chose it: they flatter."]
    paper = sum(run.paper_protocol for run in runs)
    if paper:
        said.append(f"{count(paper, 'run')} chose pipelines on the test set (protocol=paper).")
    if any(run.rule_based for run in runs):
        said.append("llm=offline is a rule-based expert, no language model: it reads and writes no tokens.")
    twice = len(runs) - len({(group(run), strategy(run), run.seed) for run in runs})
    if twice:
        said.append(
            f"Seeds recorded more than once: {twice}; such runs resemble each other, so intervals are too narrow."
        )
    unfinished = sum(not run.finished for run in runs)
    if unfinished:
        said.append(f"{count(unfinished, 'run')} did not finish; what it has counts in the fits, not in the crossover.")
    return said
