"""A run as the report on its study sees it: its settings, its result, what it cost, and how it went. From its journal.

Nothing is made up for a run that failed or was killed: it has no accuracy, and is counted as what it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from improve.config.decisive import PRESENTATION
from improve.config.schema import Config
from improve.display.text import one_line
from improve.domain import Verdict
from improve.errors import DataError, ResumeError
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.kinds import TestRecord
from improve.record.runs import Cost, cost_of, run_folders

State = Literal["scored", "failed", "unfinished"]

# Settings that tell runs apart without changing what is compared: how the machine is used, where things lie.
# The images are compared by their fingerprint, the prompts by their hash, a cassette by its content.
_ASIDE = (
    *PRESENTATION, "seed", "role_llms", "sandbox", "dataset.path", "dataset.fit_seconds", "prompts.path",
    "executor.threads", "executor.workers", "executor.memory_gib", "executor.disk_gib", "executor.output_mib",
    "executor.smoke_seconds", "executor.predict_seconds", "executor.weights", "llm.api_base", "llm.api_key_env",
    "llm.cassette", "llm.timeout_seconds", "llm.retry_seconds", "llm.retry_wait_seconds", "llm.usd_per_million_input",
    "llm.usd_per_million_cached_input", "llm.usd_per_million_output",
)  # fmt: skip
# What means nothing to a pipeline that answers one prompt.
_OF_REFINEMENT = ("strategy.unified_initialization", "strategy.history", "acceptance.rule", "acceptance.alpha")


@dataclass(frozen=True)
class Step:
    """One iteration with a verdict. `spent` is what the run had taken once it was judged.

    `accuracy`: of the candidate; `best`: of the best pipeline after the verdict, both on the selection images (None:
    no score); `gain`: how much `best` rose; `reason`: why there is no score, else "".
    """

    number: int
    component: str
    accuracy: float | None
    best: float | None
    gain: float
    accepted: bool
    reason: str
    spent: Cost


@dataclass(frozen=True)
class StudyRun:
    """A run. `accuracy`, `first` (the first pipeline's) are on the test images, `selection` on the selection images."""

    folder: Path
    name: str
    study: str
    started_at: str
    settings: Mapping[str, str]
    seed: int
    state: State
    why: str  # no score; or that a budget ended it
    accuracy: float | None
    first: float | None
    selection: float | None
    tokens: int
    usd: float | None
    minutes: float
    rule_based: bool
    replayed: bool
    verified: bool
    paper_protocol: bool
    steps: tuple[Step, ...]
    strata: Mapping[str, tuple[int, int]]  # kind of test images → correct, total
    origin: Mapping[str, str]  # version, commit and hardware
    components: Mapping[str, float] | None = None  # what each component gained by all trainings; None: not on record
    rate_limited: int = 0  # answers of HTTP 429: a provider was asked too fast

    @property
    def flattery(self) -> float | None:
        """How far the best pipeline's selection accuracy lies above its test accuracy."""
        return None if self.selection is None or self.accuracy is None else self.selection - self.accuracy

    @property
    def finished(self) -> bool:
        return self.state != "unfinished"

    @property
    def spent(self) -> Cost:
        return self.steps[-1].spent if self.steps else Cost(self.tokens, self.usd, 0.0)


def load_runs(paths: Iterable[Path]) -> tuple[list[StudyRun], list[str]]:
    """The runs at or below the paths, and a sentence for each that cannot be read or is there twice.

    Raises `DataError` if there is none.
    """
    runs: list[StudyRun] = []
    notes: list[str] = []
    seen: dict[tuple[str, str], Path] = {}
    for folder in run_folders(paths):
        try:
            run = study_run(folder, History.read(folder))
        except ResumeError as error:
            notes.append(f"left out: {error.what}")
            continue
        first = seen.setdefault((run.name, run.started_at), folder)
        if first != folder:
            notes.append(f"left out: {folder} is a copy of {first}")
        else:
            runs.append(run)
    if not runs:
        raise DataError("No run to report on.\n  " + "\n  ".join(notes), "give the folders of other runs")
    return sorted(runs, key=lambda run: (run.study, run.name, run.started_at)), notes


def study_run(folder: Path, history: History) -> StudyRun:
    """The run that a journal tells."""
    run, best = history.run, history.iteration(history.best)
    state, why = _state(history)
    test = history.best_test if state == "scored" else None
    strata = test.get("strata", {}) if test else {}  # runs of earlier versions have none
    return StudyRun(
        folder=folder,
        name=run["name"],
        study=run.get("study", ""),
        started_at=history.started_at,
        settings=_settings(history),
        seed=int(run["config"].get("seed", 0)),
        state=state,
        why=why,
        accuracy=test["accuracy"] if test else None,
        first=_accuracy(history.first_test),
        selection=best.accuracy if best else None,
        tokens=history.costs.total_tokens,
        rate_limited=history.rate_limited,
        usd=history.usd,
        minutes=history.seconds / 60,
        rule_based=history.rule_based,
        replayed=bool(history.replayed),
        verified=bool(run.get("verified", True)),
        paper_protocol=history.paper_protocol,
        steps=_steps(history),
        components=_components(history),
        strata={name: (counts[0], counts[1]) for name, counts in strata.items()},
        origin={
            "version": str(run.get("versions", {}).get("improve", "unknown")),
            "commit": str(run.get("commit") or "unknown"),
            "hardware": str(run.get("hardware", "unknown")),
        },
    )


def _state(history: History) -> tuple[State, str]:
    if history.finished is None:
        at = history.numbering.iteration(history.iterations[-1].number if history.iterations else 0)
        return "unfinished", f"the record ends in iteration {at} of {history.planned}"
    test = history.best_test
    if test is None:
        return "failed", f"no pipeline could be scored ({one_line(history.finished['reason'], 120)})"
    if test["failure"]:
        return "failed", f"no test score ({one_line(test['failure']['message'], 120)})"
    return "scored", one_line(history.finished["reason"], 120).rstrip(".") if history.ended_by_budget else ""


def _accuracy(test: TestRecord | None) -> float | None:
    return test["accuracy"] if test and not test["failure"] else None


def _steps(history: History) -> tuple[Step, ...]:
    judged = [iteration for iteration in history.iterations if iteration.verdict]
    steps = []
    for index, iteration in enumerate(judged):
        steps.append(
            Step(
                number=iteration.number,
                component=iteration.label,
                accuracy=iteration.accuracy,
                best=iteration.best_accuracy,
                gain=(iteration.gain or 0.0) if iteration.replaces else 0.0,
                accepted=iteration.outcome is Verdict.ACCEPTED,
                reason=_reason(iteration),
                spent=cost_of(judged[: index + 1]),
            )
        )
    return tuple(steps)


def _components(history: History) -> dict[str, float] | None:
    if history.claims is None:
        return None
    return {name: gain["effect"] for name, gain in history.claims["components"].items()}


def _reason(iteration: Iteration) -> str:
    if iteration.outcome is not Verdict.FAILED:
        return ""
    return str(iteration.failure["reason"]) if iteration.failure else "no usable answer"


def _settings(history: History) -> dict[str, str]:
    """The settings that decide a result, flat, as text; what an earlier version did not know is at its default."""
    run = history.run
    config = dict(_flat(dataclasses.asdict(Config()))) | dict(_flat(run["config"]))
    config["dataset.name"] = str(run["dataset"].get("name", config.get("dataset.name", "?")))
    kept = {key: value for key, value in config.items() if not _aside(key)}
    if not history.refines:
        kept |= dict.fromkeys(_OF_REFINEMENT, "null")
    return kept | {
        "verified": _text(bool(run.get("verified", True))),
        "dataset.fingerprint": str(run["dataset"].get("fingerprint", "unknown"))[:8],
        "prompts.hash": str(run.get("prompts", {}).get("hash", "unknown"))[:8],
        "cassette": str(run.get("cassette", {}).get("sha256", ""))[:8],
    }


def _aside(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in _ASIDE)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    """As it is given on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
