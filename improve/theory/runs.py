"""Recorded runs as the theory sees them: what each iteration gained and what it cost. Reads journals alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from improve.display.text import count
from improve.domain import Verdict
from improve.errors import DataError, ResumeError
from improve.record.history import History, Iteration
from improve.record.runs import Cost, cost_of, run_folders

LOCAL, GLOBAL = "iterative", "global"


@dataclass(frozen=True)
class Step:
    """Iteration `number` = 1, 2, … after the first pipeline with a score.

    `gain` is how much the best selection accuracy rose, in [0, 1]: 0 where the candidate was rejected or failed.
    """

    number: int
    gain: float
    cost: Cost


@dataclass(frozen=True)
class RecordedRun:
    """A run of strategy `iterative` or `global`. `start` is the cost up to and with the first scored pipeline."""

    folder: Path
    strategy: str
    dataset: str
    llm: str
    seed: int
    finished: bool
    paper_protocol: bool
    rule_based: bool
    start: Cost
    first_accuracy: float
    steps: tuple[Step, ...]

    @property
    def gains(self) -> list[float]:
        return [step.gain for step in self.steps]

    @property
    def group(self) -> tuple[str, str]:
        """Gains and costs are compared within one data set and one language model."""
        return self.dataset, self.llm


def load(paths: Iterable[Path]) -> tuple[list[RecordedRun], list[str]]:
    """The runs below the paths, each once, and a note for each that is of no use here, saying why.

    A path is a run's folder or one that holds some, at any depth. Raises `DataError` if no run is left.
    """
    runs: list[RecordedRun] = []
    notes: list[str] = []
    for folder in run_folders(paths):
        try:
            run = recorded(folder, History.read(folder))
        except ResumeError as error:
            notes.append(f"left out: {error.what}")
            continue
        if isinstance(run, str):
            notes.append(f"left out: {folder}: {run}")
        else:
            runs.append(run)
    if not runs:
        reasons = "".join(f"\n  {note}" for note in notes)
        raise DataError(f"No run to fit: none with an iteration after its first pipeline.{reasons}", "give other runs")
    return runs, notes


def recorded(folder: Path, history: History) -> RecordedRun | str:
    """The run, or why it cannot be used."""
    config = history.run["config"]
    strategy = str(config.get("strategy", {}).get("name", ""))
    if strategy not in (LOCAL, GLOBAL):
        return f"strategy {strategy or 'unknown'} does not refine a pipeline (only {LOCAL} and {GLOBAL} do)"
    judged = [iteration for iteration in history.iterations if iteration.verdict]
    first = next((index for index, one in enumerate(judged) if one.outcome is Verdict.ACCEPTED), None)
    if first is None:
        return "no pipeline has a score"
    if first + 1 == len(judged):
        return "no iteration after the first pipeline"
    return RecordedRun(
        folder=folder,
        strategy=strategy,
        dataset=str(history.run["dataset"].get("name", "unknown")),
        llm=str(config.get("llm", {}).get("name", "unknown")),
        seed=int(config.get("seed", 0)),
        finished=history.is_finished,
        paper_protocol=history.paper_protocol,
        rule_based=history.rule_based,
        start=cost_of(judged[: first + 1]),
        first_accuracy=judged[first].accuracy or 0.0,
        steps=tuple(
            Step(number, _gain(iteration), cost_of([iteration]))
            for number, iteration in enumerate(judged[first + 1 :], start=1)
        ),
    )


def _gain(iteration: Iteration) -> float:
    return iteration.gain or 0.0 if iteration.outcome is Verdict.ACCEPTED else 0.0


def cautions(runs: Sequence[RecordedRun]) -> list[str]:
    """What a reader of fits to these runs must know, a sentence each."""
    said = ["Gains are those of the best score on the selection images, which chose it: they flatter."]
    paper = sum(run.paper_protocol for run in runs)
    if paper:
        said.append(f"{count(paper, 'run')} chose pipelines on the test set (protocol=paper).")
    if any(run.rule_based for run in runs):
        said.append("llm=offline is a rule-based expert, no language model: it reads and writes no tokens.")
    twice = len(runs) - len({(run.group, run.strategy, run.seed) for run in runs})
    if twice:
        said.append(
            f"Seeds recorded more than once: {twice}; such runs resemble each other, so intervals are too narrow."
        )
    unfinished = sum(not run.finished for run in runs)
    if unfinished:
        said.append(f"{count(unfinished, 'run')} did not finish; what it has counts in the fits, not in the crossover.")
    return said
