"""How long a training was, and how long it could have been in its limit, in steps: batches that it learnt from.

The numbers are told by the pipeline itself. They are shown, and handed on to the training of what revises it
(`template/plan.py`), which believes them only as far as they agree with what it measures; the time limit holds anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from improve.execution.status import amount, count

SLOWEST = 1e6  # seconds of a step
COMPILED = ("yes", "no")


@dataclass(frozen=True)
class Length:
    """0: not known."""

    steps: int = 0  # done
    planned_steps: int = 0
    steps_that_fit: int = 0  # in the limit of the training: seconds or steps
    steps_per_epoch: int = 0
    batch_size: int = 0
    step_seconds: float = 0.0  # as measured before the training; 0: its limit is in steps
    compiled: str = ""  # whether its steps were compiled: yes, no (tried in vain), or "" (not tried)
    compile_gain: float = 0.0  # how many times as many steps fit as without
    compile_seconds: float = 0.0  # that trying it took

    @classmethod
    def told(cls, event: Mapping[str, Any]) -> Length:
        """From the `plan` event of a training; what is no number in it is 0."""
        names = ("steps_that_fit", "steps_per_epoch", "batch_size")
        seconds = amount(event.get("step_seconds")) or 0.0
        return cls(
            planned_steps=count(event.get("steps")) or 0,
            step_seconds=seconds if seconds < SLOWEST else 0.0,
            compiled=next((word for word in COMPILED if word == event.get("compiled")), ""),
            compile_gain=amount(event.get("compile_gain")) or 0.0,
            compile_seconds=amount(event.get("compile_seconds")) or 0.0,
            **{name: count(event.get(name)) or 0 for name in names},
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Length:
        """From a `training` record of a journal. Older ones know whole epochs only: they are taken for the steps."""
        if "planned_steps" in record:
            return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})
        epochs, planned, fitting = (record[name] for name in ("epochs", "planned_epochs", "epochs_that_fit"))
        return cls(steps=epochs, planned_steps=planned, steps_that_fit=fitting, steps_per_epoch=1)

    def record(self) -> dict[str, Any]:
        """For the journal, with the same in epochs."""
        epochs = {
            name: self.epochs(steps)
            for name, steps in (
                ("epochs", self.steps), ("planned_epochs", self.planned_steps), ("epochs_that_fit", self.steps_that_fit)
            )
        }  # fmt: skip
        return {**asdict(self), **epochs}

    def epochs(self, steps: int) -> float:
        """So many steps in epochs, to hundredths; a whole number of them as an int."""
        epochs = round(steps / self.steps_per_epoch, 2) if self.steps_per_epoch else 0
        return int(epochs) if epochs == int(epochs) else epochs

    def reference(self, same_but_training: bool) -> dict[str, Any] | None:
        """For the training of a pipeline that revises this one, as `template/context.py` reads it; None if nothing is
        known. `same_but_training`: whether their data and model components are the same."""
        names = ("steps_that_fit", "step_seconds", "steps_per_epoch", "batch_size")
        known = {name: getattr(self, name) for name in names}
        told = {"same_but_training": same_but_training, "compiled": self.compiled}
        return {**known, **told} if all(known.values()) else None
