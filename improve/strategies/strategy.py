"""What a strategy is, and what it may ask of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

from improve.domain import COMPONENTS, Pipeline

Asked = Literal["architect", "engineer", "analyst", "summarizer", "zero_shot"]
ALL = "all"  # in place of a component: any of the three may change


@dataclass(frozen=True)
class Candidate:
    """A pipeline to be judged. `component` is what it changes, or `ALL`; `feedback` is what its engineers were told."""

    component: str
    pipeline: Pipeline
    feedback: str = ""


class Proposal(Protocol):
    """What the analyst wants to be changed."""

    @property
    def component(self) -> str: ...

    @property
    def feedback(self) -> str: ...


class Workshop(Protocol):
    """What a run offers. The calls ask models; each is recorded, and done once however often the run is resumed."""

    @property
    def has_incumbent(self) -> bool: ...

    @property
    def best(self) -> Pipeline | None:
        """The incumbent's sources; None if no pipeline has a score yet."""

    def first_pipeline(self, iteration: int) -> Pipeline:
        """The architect's whole pipeline (or plan, and then one engineer after the other)."""

    def single_prompt(self, iteration: int) -> Pipeline:
        """A whole pipeline from one prompt, with no knowledge of any other (paper, section 4.1)."""

    def propose(self, iteration: int) -> Proposal:
        """The analyst's choice."""

    def revise(self, iteration: int, proposal: Any) -> Pipeline:
        """The incumbent with the proposed component written anew by its engineer."""

    def revise_all(self, iteration: int, proposal: Any) -> Pipeline:
        """The incumbent with all components written anew, each engineer seeing the incumbent."""


class Settings(Protocol):
    """The keys of the group `strategy` that say how many calls there are."""

    iterations: int
    candidates: int
    unified_initialization: bool
    repairs: int


class Strategy(ABC):
    """How a run comes to its next candidate, and what follows for its configuration."""

    name: ClassVar[str]
    # Whether iterations revise the best pipeline, by the team's roles; else each pipeline answers one prompt alone.
    refines: ClassVar[bool] = True
    # What a proposal may name.
    choices: ClassVar[tuple[str, ...]] = COMPONENTS
    # Keys of the group `strategy` that have one value under it, whatever is given: so the same run is found whatever a
    # study sets for its other strategies, and its record says what was done.
    fixed: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    # Keys of the group that mean nothing under it: they are taken to be the schema's defaults.
    unused: ClassVar[tuple[str, ...]] = ()
    # The option of the group `llm` that answers, whatever is given; None: the configured one.
    llm: ClassVar[str | None] = None
    # The strategy that this one is on record as, for those that differ from it in their settings alone.
    recorded_as: ClassVar[str | None] = None
    # What people should know of each of its runs; "" if nothing.
    note: ClassVar[str] = ""

    @abstractmethod
    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        """The next pipeline to be judged."""

    def calls(self, settings: Settings) -> tuple[Counter[Asked], Counter[Asked]]:
        """Who is asked how often: for the first pipeline, and in each later iteration; without repairs."""
        engineers = 0 if settings.unified_initialization else len(COMPONENTS)
        revising = len(COMPONENTS) if self.choices == (ALL,) else 1
        return (
            Counter({"architect": 1, "engineer": engineers, "summarizer": 1}),
            Counter({"analyst": 1, "engineer": revising, "summarizer": 1}),
        )
