"""Lines of JSON from the sandbox: events for the display and hints for the engineers. Nothing here is trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from improve.domain import COMPONENTS, Component, Failure, Reason

MAX_LINE = 64 * 1024  # bytes
MAX_TOTAL = 16 * 1024 * 1024
MAX_LINES = 50_000  # short ones cost more time to read than their bytes tell
ROW_KEYS = (
    "epoch", "step", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate",
    "seconds",
)  # fmt: skip
SHARES = ("train_accuracy", "validation_accuracy")
LARGEST = 1e15  # of a number in a row; beyond it charts and number formats go wrong
LARGEST_COUNT = 10**9  # of epochs, steps, images


def clean(text: Any, limit: int) -> str:
    """Text from the sandbox, cut at `limit` characters, without those that control a terminal or are not seen.

    Among these are lone surrogates, which cannot be written to any file.
    """
    return "".join(c if c.isprintable() or c in "\t\n" else " " for c in str(text)[:limit])


def epoch_row(event: dict[str, Any]) -> dict[str, Any]:
    """The known numbers of an `epoch` event; others, and what is not finite or out of range, are left out."""
    row: dict[str, Any] = {}
    for key in ROW_KEYS:
        value = event.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and _plausible(key, value):
            row[key] = value
    return row


def _plausible(key: str, value: float) -> bool:
    # A comparison is false for NaN and, unlike float(), takes whole numbers of any length.
    return 0 <= value <= 1 if key in SHARES else -LARGEST <= value <= LARGEST


def amount(value: Any) -> float | None:
    """A number from 0 to `LARGEST_COUNT`; None for anything else."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= LARGEST_COUNT else None


def count(value: Any) -> int | None:
    """A whole number from 0 to `LARGEST_COUNT`; None for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= LARGEST_COUNT else None


def failure_of(event: dict[str, Any]) -> Failure:
    """An `error` event as a failure; an unknown reason becomes a crash."""
    try:
        reason = Reason(event.get("reason"))
    except ValueError:
        reason = Reason.CRASH
    named = event.get("component")
    component: Component | None = next((name for name in COMPONENTS if name == named), None)
    message = clean(event.get("message", ""), 500).replace("\n", " ") or "the code failed without a message"
    return Failure(reason, message, component, clean(event.get("detail", ""), 6000))


@dataclass
class StatusReader:
    """Cuts a stream of bytes into events. Lines that are too long or no JSON objects are dropped."""

    pending: bytes = b""
    total: int = 0
    lines: int = 0
    flooded: bool = False

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The events that `data` completes."""
        self.total += len(data)
        self.lines += data.count(b"\n")
        self.flooded = self.flooded or self.total > MAX_TOTAL or self.lines > MAX_LINES
        if self.flooded:
            return []
        *lines, self.pending = (self.pending + data).split(b"\n")
        if len(self.pending) > MAX_LINE:
            self.pending = b""
        return [event for line in lines if len(line) <= MAX_LINE and (event := _object(line)) is not None]


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
