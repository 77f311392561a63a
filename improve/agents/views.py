"""What the roles are shown of a run, as YAML: the context, the compact history, the training log, one step.

The numbers come from the journal. Durations are shown coarsely: they differ between two runs of the same seed, and a
prompt that quoted them exactly would make the runs drift apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from improve.domain import Pipeline

TRIED_LENGTH, OLD_TRIED_LENGTH = 400, 150
NOTE_LENGTH = 300
HISTORY_LENGTH = 14_000  # characters, about 4,000 tokens: what the history takes at most, whatever the iterations
LOG_ROWS = 12
WORST_CLASSES, CONFUSIONS = 5, 8


@dataclass(frozen=True)
class Step:
    """One iteration as the history shows it. Accuracies are fractions; the last two are self-reported, of the last
    validation. `evidence` is why the verdict is what it is: images won and lost, p; `used_share` of the time limit."""

    iteration: int
    component: str
    tried: str
    verdict: str
    accuracy: float | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    reason: str = ""
    note: str = ""
    steps: int = 0  # batches that it learnt from; 0: unknown
    used_share: float | None = None
    evidence: str = ""
    candidate: int = 0  # which of those that its iteration tried side by side, from 1; 0: there was but one


@dataclass(frozen=True)
class TrainingLog:
    """The validations of one training (self-reported rows), and how much of its time limit it took."""

    rows: Sequence[dict[str, Any]]
    planned_epochs: float
    epochs_that_fit: float  # in its limit; below 1: it was trained on as many images as fit
    used_share: float
    steps: int = 0  # batches that it learnt from; 0: unknown


def dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def history(steps: Sequence[Step], full: int) -> str:
    """The newest `full` steps in full, older ones without their notes, within `HISTORY_LENGTH` characters.

    Where that is too little for all, the oldest steps that were rejected are left out first, then those that failed,
    then the oldest of all; how many were left out is said.
    """
    texts = [_step(step, recent=place >= len(steps) - full) for place, step in enumerate(steps)]
    left = sum(map(len, texts)) - HISTORY_LENGTH
    dropped: set[int] = set()
    for wanted in ("rejected", "failed", ""):
        for place, step in enumerate(steps):
            if left > 0 and place not in dropped and step.verdict.startswith(wanted):
                dropped.add(place)
                left -= len(texts[place])
    note = f"# {len(dropped)} older steps are left out\n" if dropped else ""
    return note + "".join(text for place, text in enumerate(texts) if place not in dropped)


def _step(step: Step, recent: bool) -> str:
    entry: dict[str, Any] = {
        "iteration": step.iteration,
        **({"candidate": step.candidate} if step.candidate else {}),
        "component": step.component,
        "tried": shortened(step.tried, TRIED_LENGTH if recent else OLD_TRIED_LENGTH),
        "verdict": step.verdict,
    }
    for name in ("accuracy", "train_accuracy", "validation_accuracy"):
        value = getattr(step, name)
        if value is not None:
            entry[name] = round(value, 4)
    if step.steps and recent:
        entry["steps"] = step.steps
    if step.used_share is not None and recent:
        entry["time_used"] = _share(step.used_share)
    if step.evidence and recent:
        entry["evidence"] = shortened(step.evidence, NOTE_LENGTH)
    if step.reason:
        entry["reason"] = shortened(step.reason, NOTE_LENGTH if recent else OLD_TRIED_LENGTH)
    if step.note and recent:
        entry["note"] = shortened(step.note, NOTE_LENGTH)
    return dump([entry])


def proposed(steps: Sequence[Step]) -> str:
    """Candidates that nothing is known of yet, in the form of the history; "" if there are none."""
    return (
        dump(
            [
                {
                    "iteration": step.iteration,
                    "candidate": step.candidate,
                    "component": step.component,
                    "tried": step.tried,
                }
                for step in steps
            ]
        )
        if steps
        else ""
    )


def shortened(text: str, length: int) -> str:
    """The beginning of a text, up to the end of a word, with "…" if something is left out."""
    if len(text) <= length:
        return text
    kept = text[: length - 2]
    whole = kept.rsplit(" ", 1)[0]
    return f"{whole if len(whole) > length // 2 else kept} …"


def mistakes(confusions: np.ndarray, names: Sequence[str]) -> str:
    """The classes that are answered worst, and the most frequent confusions, of K × K counts (true × answered).

    Of the images on which verdicts rest: sums over many of them, none of which is shown.
    """
    images = np.maximum(confusions.sum(axis=1), 1)
    right = np.diag(confusions) / images
    worst = np.argsort(right, kind="stable")[:WORST_CLASSES]
    wrong = confusions.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(cell), len(names)) for cell in most if wrong.flat[cell]]
    return dump(
        {
            "worst_classes": {names[k]: f"{right[k]:.0%} of {images[k]} right" for k in worst},
            "taken_for": [f"{names[true]} for {names[given]}: {wrong[true, given]}" for true, given in pairs],
        }
    )


def training_log(log: TrainingLog) -> str:
    thinned = _thin(list(log.rows), LOG_ROWS)
    keys = ("epoch", "step", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    rows = [{k: _short(row[k]) for k in keys if k in row} for row in thinned]
    return dump(
        {
            "time_used": _share(log.used_share),
            **({"steps": log.steps} if log.steps else {}),
            "epochs": log.rows[-1].get("epoch", len(log.rows)) if log.rows else 0,
            "planned_epochs": log.planned_epochs,
            "epochs_that_fit": _fitting(log.epochs_that_fit, log.planned_epochs),
            "rows": rows,
        }
    )


def _thin(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    if len(rows) <= count:
        return rows
    return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]


def _share(share: float) -> str:
    tenths = round(share * 10) * 10
    return f"about {tenths}% of the limit" if tenths >= 10 else "under 10% of the limit"


def _fitting(epochs: float, planned: float) -> str:
    """How many epochs the limit allows: one digit of it, and no more than that it is plenty where it is."""
    if epochs < 1:
        part = f"about {epochs:.1g}" if epochs else "less than 1"
        return f"{part}: the training saw only a part of the images"
    plenty = round(10 * max(1, planned))
    return f"more than {plenty}" if epochs > plenty else f"about {_one_digit(int(epochs))}"


def _one_digit(number: int) -> int:
    scale: int = 10 ** (len(str(number)) - 1)
    return round(number / scale) * scale


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def diff(old: Pipeline, new: Pipeline) -> str:
    """The unified diff of the components that differ."""
    lines: list[str] = []
    for name in new.changed(old):
        before, after = old.source(name).splitlines(), new.source(name).splitlines()
        lines += difflib.unified_diff(before, after, f"before/{name}.py", f"after/{name}.py", lineterm="", n=2)
    return "\n".join(lines)
