"""What is logged of a run, as plain values from its history and the files that it names. It knows nothing of W&B.

A value that a run does not have (the accuracy of a candidate that failed, a price that is not known) is left out:
nothing stands for it, least of all a zero.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from improve.display.sentences import warnings
from improve.display.text import clean, cut_middle
from improve.domain import Verdict
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.kinds import TestRecord
from improve.report.files import RunFiles
from improve.report.view import diffs_of
from improve.spending.costs import costs

CELL_CHARACTERS = 20_000  # of a text in the table of iterations
TAG_CHARACTERS = 64  # more is refused by W&B
COLUMNS = (
    "iteration", "component", "verdict", "accuracy", "low", "high", "gain", "p_value", "best_so_far", "tokens", "usd",
    "seconds", "repairs", "failure", "reason", "feedback", "diff",
)  # fmt: skip
OVERLAID = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
CURVES = (*OVERLAID, "learning_rate", "seconds")
REPORTED = "self-reported"
EPOCHS = f"{REPORTED}/epochs_of_the_run"

Values = dict[str, Any]


def run_id(history: History) -> str:
    """The run's name in W&B's URLs: the same in every session of the run, another one for another run."""
    name = history.run["name"]
    digest = hashlib.sha256(f"{name} {history.started_at}".encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:80]}-{digest}"


def group(history: History) -> str:
    """The study that the run is part of, else its dataset."""
    return history.run.get("study") or str(history.run["dataset"].get("name", "?"))


def job_type(history: History) -> str:
    return str(history.run["config"].get("strategy", {}).get("name", "?"))


def marks(history: History) -> list[str]:
    """What must stand beside every score of the run, short enough for a tag."""
    said = {
        "rule-based expert, no language model": history.rule_based,
        "unverified (no sandbox)": not history.run["verified"],
        history.protocol: history.paper_protocol,
    }
    return [mark[:TAG_CHARACTERS] for mark, holds in said.items() if holds]


def config(history: History) -> Values:
    """The run's settings, and where its result comes from."""
    described = ("versions", "hardware", "commit", "code", "prompts", "cassette", "budget", "notes")
    run: Mapping[str, Any] = history.run
    provenance = {key: run[key] for key in described if key in run}
    facts = {key: value for key, value in run["dataset"].items() if key != "class_names"}
    facts["classes"] = len(run["dataset"].get("class_names", []))
    return {
        **run["config"],
        "study": run.get("study", ""),
        "name": run["name"],
        "data": facts,
        "provenance": provenance,
        "tier": run["tier"],
        "verified": run["verified"],
        "marks": marks(history),
    }


def row(history: History, iteration: Iteration) -> Values:
    """One iteration that has a verdict, as a row of the history whose axis is `iteration`."""
    so_far = costs(call for call in history.calls if call["iteration"] <= iteration.number)
    seconds = sum(past.seconds for past in history.iterations if past.number <= iteration.number)
    verdict, score = iteration.verdict, iteration.score if iteration.accuracy is not None else None
    values = {
        "iteration": iteration.number,
        "component": iteration.label,
        "verdict": verdict["verdict"] if verdict else None,
        "accepted": int(iteration.outcome is Verdict.ACCEPTED),
        "kept": int(iteration.replaces),
        "failure": iteration.failure["reason"] if iteration.failure else None,
        "repairs": iteration.repairs,
        "selection/accuracy": iteration.accuracy,
        "selection/low": score["low"] if score else None,
        "selection/high": score["high"] if score else None,
        "selection/gain": iteration.gain,
        "selection/p_value": verdict["p_value"] if verdict else None,
        "selection/best": _best_after(history, iteration),
        "tokens/iteration": iteration.tokens,
        "tokens/total": so_far.total_tokens,
        "usd/iteration": iteration.costs.usd,
        "usd/total": so_far.usd,
        "seconds/iteration": iteration.seconds,
        "seconds/total": seconds,
    }
    return _known(values)


def curves(history: History, iteration: Iteration) -> list[Values]:
    """The training curves of a candidate, an epoch a row.

    All candidates share the same few keys, so that W&B shows one set of panels however many iterations there are: their
    axis is `EPOCHS`, the epochs trained so far in the run. They are self-reported by generated code, and named so that
    this is seen.
    """
    before = sum(len(_epochs(past)) for past in history.iterations if past.number < iteration.number)
    return [
        {
            **{f"{REPORTED}/{key}": value for key, value in _known({key: row.get(key) for key in CURVES}).items()},
            f"{REPORTED}/iteration": iteration.number,
            f"{REPORTED}/epoch": at,
            EPOCHS: before + at,
        }
        for at, row in enumerate(_epochs(iteration), 1)
    ]


def overlaid(history: History) -> dict[str, tuple[list[list[int]], list[list[float]], list[str]]]:
    """For each quantity the curves of all candidates over their own epochs: epochs, values, and names of the lines."""
    charts = {}
    for quantity in OVERLAID:
        lines = []
        for iteration in history.iterations:
            points = [
                (at, row[quantity]) for at, row in enumerate(_epochs(iteration), 1) if row.get(quantity) is not None
            ]
            if points:
                lines.append((*map(list, zip(*points, strict=True)), f"{iteration.number:03} {iteration.label}"))
        if lines:
            epochs, values, names = map(list, zip(*lines, strict=True))
            charts[quantity] = (epochs, values, names)
    return charts


def _epochs(iteration: Iteration) -> Sequence[Mapping[str, Any]]:
    return iteration.training.get("rows", []) if iteration.training else []


def summary(history: History) -> Values:
    """The run's result, with all that must stand beside it."""
    best = history.iteration(history.best)
    values: Values = {
        **_test("first", history.first_test),
        **_test("best", history.best_test),
        "best/iteration": history.best,
        "best/selection_accuracy": best.accuracy if best else None,
        "iterations/judged": len(history.judged),
        **{f"iterations/{verdict.name.lower()}": history.count(verdict) for verdict in Verdict},
        **{f"tokens/{kind}": count for kind, count in history.tokens.items()},
        "tokens/total": history.costs.total_tokens,
        "usd/total": history.usd,
        "usd/unpriced": list(history.costs.unpriced),
        "seconds/total": history.seconds,
        "ended": history.finished["reason"] if history.finished else "not finished",
        "tier": history.run["tier"],
        "verified": history.run["verified"],
        "protocol": history.protocol,
        "rule_based": history.rule_based,
        "warnings": [*warnings(history), *history.run["notes"]],
        "data/fingerprint": history.run["dataset"].get("fingerprint"),
    }
    return _known(values)


def table(history: History, files: RunFiles) -> list[list[Any]]:
    """The iterations that have a verdict, a row each; see `COLUMNS`."""
    rows = []
    for iteration in history.iterations:
        if iteration.verdict is None:
            continue
        values = {name.split("/")[-1]: value for name, value in row(history, iteration).items() if "total" not in name}
        values |= {
            "tokens": iteration.tokens,
            "usd": iteration.costs.usd,
            "seconds": iteration.seconds,
            "best_so_far": _best_after(history, iteration),
            "reason": _text(iteration.reason),
            "feedback": _text(iteration.proposal["feedback"]) if iteration.proposal else "",
            "diff": _text(_diff(history, iteration, files)),
        }
        rows.append([values.get(column) for column in COLUMNS])
    return rows


def _best_after(history: History, iteration: Iteration) -> float | None:
    best = history.iteration(iteration.verdict["incumbent"]) if iteration.verdict else None
    return best.accuracy if best else None


def _diff(history: History, iteration: Iteration, files: RunFiles) -> str:
    candidate = iteration.candidate
    parent = history.iteration(candidate["parent"]) if candidate else None
    if candidate is None or parent is None:
        return ""
    return "\n".join(
        f"--- {change.component}.py\n" + "\n".join(line.text for line in change.lines)
        for change in diffs_of(iteration, parent, files)
    )


def _test(which: str, test: TestRecord | None) -> Values:
    if test is None:
        return {}
    if test["failure"]:
        return {f"test/{which}/failure": test["failure"]["reason"]}
    values: Mapping[str, Any] = test
    return {f"test/{which}/{key}": values[key] for key in ("accuracy", "low", "high", "correct", "total")}


def _text(text: str) -> str:
    return cut_middle(clean(text), CELL_CHARACTERS)


def _known(values: Values) -> Values:
    return {name: value for name, value in values.items() if value is not None}
