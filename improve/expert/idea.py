"""An idea of the analyst: which settings of which component to change, and why that should help."""

from __future__ import annotations

from dataclasses import dataclass

from improve.domain import Component
from improve.expert.recipe import Settings


@dataclass(frozen=True)
class Idea:
    """`value`: the share of the remaining errors that it is expected to remove (0.1 = a tenth), before the history
    has its say. `because` is the evidence, `request` what the engineer is asked for; both are sentences."""

    name: str
    component: Component
    settings: Settings
    value: float
    because: str
    request: str

    def sentences(self, note: str = "") -> str:
        """The text for the engineer, without the settings in brackets."""
        return " ".join(part for part in (self.because, note, self.request) if part)
