"""Lines of JSON from the sandbox: events for the display and hints for the engineers. Nothing here is trusted."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from improve.domain import COMPONENTS, Component, Failure, Reason

MAX_LINE = 64 * 1024  # bytes
MAX_TOTAL = 16 * 1024 * 1024
ROW_KEYS = (
    "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: Any, limit: int) -> str:
    """Text from the sandbox without control characters, cut at `limit` characters."""
    return CONTROL.sub(" ", str(text))[:limit]


def epoch_row(event: dict[str, Any]) -> dict[str, Any]:
    """The known numbers of an `epoch` event; others, and what is not finite, are left out."""
    row: dict[str, Any] = {}
    for key in ROW_KEYS:
        value = event.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            row[key] = value
    return row


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
    flooded: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The events that `data` completes."""
        self.total += len(data)
        self.flooded = self.flooded or self.total > MAX_TOTAL
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
