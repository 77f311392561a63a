"""What every prompt of a run says: the dataset card, what the machine offers, and what a proposal may change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from improve.agents.views import dump
from improve.domain import COMPONENTS

HELD_OUT = 0.1  # as in template/context.py: validation_fraction
# CPU milliseconds of an image on one thread (AMD EPYC, batches of 64 and 32, channels-last): a training step at 32 and
# at 128 pixels; the last is the forward pass alone. In between they are taken to grow as a power of the side.
REFERENCE_MS = {
    "3x3 convolutions 32-64-128": (1.1, 23.0),
    "resnet18": (3.7, 40.0),
    "efficientnet_lite0": (3.0, 30.0),
    "efficientnet_lite0, frozen": (0.6, 7.5),
}


@dataclass(frozen=True)
class Brief:
    """The card and the context as text, and the components that the analyst may choose from ("all": all at once)."""

    card: str
    context: str
    choices: Sequence[str] = COMPONENTS
    candidates: int = 1  # of an iteration

    def variables(self) -> dict[str, Any]:
        """As the texts of a prompt set name them."""
        return {"card": self.card, "context": self.context, "all_components": "all" in self.choices}


def shown_context(
    context: Mapping[str, Any], libraries: Mapping[str, str], offered: Mapping[str, str] | None = None
) -> str:
    """The context block of every prompt: what an engineer can use, less what only the template reads.

    `offered`: what is said of networks whose weights can be fetched, by name.
    """
    counts = context["images_per_class"]
    required = context["required_model"]
    return dump(
        {
            "hardware": context["hardware"],
            "threads": context["threads"],
            **({"devices": _sharing(context)} if _processes(context) > 1 else {}),
            "fit_seconds": context["fit_seconds"],
            **({"steps": context["steps"]} if context["steps"] else {}),
            **({} if context["accelerator"] == "gpu" else {"cpu_ms_per_image": _speeds(context)}),
            "train_images": round(context["train_images"] * (1 - HELD_OUT)),
            "image": {"height": context["height"], "width": context["width"], "channels": context["channels"]},
            "num_classes": len(context["classes"]),
            **({"required_model": required} if required else {}),
            "images_per_class": {"min": min(counts), "max": max(counts)},
            "pretrained": sorted(context["pretrained"]),
            **({"pretrained_on_demand": dict(offered)} if offered else {}),
            "libraries": dict(libraries),
        }
    )


def _processes(context: Mapping[str, Any]) -> int:
    """Of one training. Runs of earlier versions know of one node."""
    return int(context["devices"] * context.get("num_nodes", 1))


def _sharing(context: Mapping[str, Any]) -> str:
    """The rules of a training on several devices, for whoever writes it."""
    count, gpu, nodes = _processes(context), context["accelerator"] == "gpu", context.get("num_nodes", 1)
    kind, normalised = ("GPUs", "of the whole batch") if gpu else ("processes", f"of the 1/{count} that each sees")
    spread, slow = "", ""
    if nodes > 1:
        spread = f" on {nodes} machines"
        slow = " Gradients cross a network between machines in every step: small networks and large batches suit it."
    rules = (
        f"{count} {kind}{spread} share one training. batch_size is that of all together: each has 1/{count} of every "
        "batch (at least 2 images), and their gradients are averaged, so steps and learning rates mean what they mean "
        f"on one. Take a batch {count} times as large to keep them as busy as one would be; then the rate grows with "
        "it: in proportion for SGD, by the square root for AdamW, after a warm-up. Batch normalisation uses the "
        f"statistics {normalised}."
    )
    averaging = " ema_decay and ema_horizon do nothing here." if context["strategy"] == "fsdp" else ""
    return rules + slow + averaging


def _speeds(context: Mapping[str, Any]) -> dict[str, float]:
    """What well-known networks take at this size: by a machine on record, so that prompts do not depend on the hour."""
    # Below 32 pixels what a network's layers cost by themselves outweighs their arithmetic.
    octaves = math.log2(math.sqrt(context["height"] * context["width"]) / 32)
    known = list(REFERENCE_MS.items())[: 1 if octaves < 0 else None]
    speeds = {name: small * (large / small) ** (octaves / 2) for name, (small, large) in known}
    return {name: float(f"{speed:.1g}") for name, speed in speeds.items()}
