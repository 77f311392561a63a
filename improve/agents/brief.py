"""What every prompt of a run says: the dataset card, what the machine offers, and what a proposal may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from improve.agents.views import dump
from improve.domain import COMPONENTS

HELD_OUT = 0.1  # as in template/context.py: validation_fraction


@dataclass(frozen=True)
class Brief:
    """The card and the context as text, and the components that the analyst may choose from ("all": all at once)."""

    card: str
    context: str
    choices: Sequence[str] = COMPONENTS

    def variables(self) -> dict[str, Any]:
        """As the texts of a prompt set name them."""
        return {"card": self.card, "context": self.context, "all_components": "all" in self.choices}


def shown_context(context: Mapping[str, Any], libraries: Mapping[str, str]) -> str:
    """The context block of every prompt: what an engineer can use, less what only the template reads."""
    counts = context["images_per_class"]
    required = context["required_model"]
    return dump(
        {
            "hardware": context["hardware"],
            "threads": context["threads"],
            "fit_seconds": context["fit_seconds"],
            **({"steps": context["steps"]} if context["steps"] else {}),
            "train_images": round(context["train_images"] * (1 - HELD_OUT)),
            "image": {"height": context["height"], "width": context["width"], "channels": context["channels"]},
            "num_classes": len(context["classes"]),
            **({"required_model": required} if required else {}),
            "images_per_class": {"min": min(counts), "max": max(counts)},
            "pretrained": sorted(context["pretrained"]),
            "libraries": dict(libraries),
        }
    )
