"""The values that travel between the stages of a run. All are frozen; none knows how it was made."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Component = Literal["data", "model", "training"]
COMPONENTS: Final[tuple[Component, ...]] = ("data", "model", "training")

# The last one is no role of the team: it is who the single prompt of a zero-shot pipeline is put to.
Role = Literal[
    "architect", "data_engineer", "model_engineer", "training_engineer", "analyst", "summarizer", "zero_shot"
]
ENGINEER_OF: Final[dict[Component, Role]] = {
    "data": "data_engineer",
    "model": "model_engineer",
    "training": "training_engineer",
}

Split = Literal["selection", "test"]


@dataclass(frozen=True)
class Prompt:
    """What one call sends to a language model."""

    system: str
    user: str


class Verdict(str, enum.Enum):
    """What became of a candidate."""

    ACCEPTED = "accepted"  # it is better
    KEPT = "kept (within noise)"  # it looks better, and the search goes on from it; that it is better is not shown
    REJECTED = "rejected"
    SURPASSED = "rejected (surpassed)"  # it looks better, and another candidate of the same iteration even more so
    WITHIN_NOISE = "rejected (within noise)"
    FAILED = "failed"

    @property
    def replaces(self) -> bool:
        """Whether the candidate becomes the incumbent."""
        return self in (Verdict.ACCEPTED, Verdict.KEPT)


class Reason(str, enum.Enum):
    """Why a candidate has no score, in the order in which it could have been noticed."""

    REFUSED = "refused"  # the provider declined the prompt, or it was too long for the model
    REPLY = "reply"  # the model's reply held no usable component
    SYNTAX = "syntax"
    IMPORT = "import"
    CONTRACT = "contract"
    SHAPE = "shape"
    NAN = "nan"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    DISK = "disk full"
    CRASH = "crash"
    PREDICTIONS = "bad predictions"


@dataclass(frozen=True)
class Failure:
    """Why a candidate failed. `message` is one line for people; `detail` is untrusted text for the engineer."""

    reason: Reason
    message: str
    component: Component | None = None
    detail: str = ""

    def record(self) -> dict[str, Any]:
        """As journals hold it (`improve.record.kinds.FailureRecord`)."""
        return {**dataclasses.asdict(self), "reason": self.reason.value}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Failure:
        return cls(Reason(values["reason"]), values["message"], values["component"], values["detail"])


@dataclass(frozen=True)
class Pipeline:
    """The source text of the three components."""

    data: str
    model: str
    training: str

    def source(self, component: Component) -> str:
        return str(getattr(self, component))

    def with_component(self, component: Component, source: str) -> Pipeline:
        return Pipeline(**{name: source if name == component else self.source(name) for name in COMPONENTS})

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each component, hexadecimal."""
        return {name: hashlib.sha256(self.source(name).encode()).hexdigest() for name in COMPONENTS}

    def changed(self, other: Pipeline) -> tuple[Component, ...]:
        """The components in which the two pipelines differ."""
        return tuple(name for name in COMPONENTS if self.source(name) != other.source(name))


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy on one split, with its 95% Wilson interval. Fractions in [0, 1]."""

    correct: int
    total: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.total
