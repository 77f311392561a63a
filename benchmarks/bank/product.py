"""All that the bank takes from the product: its images, its components' sources and its training code."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from improve.config.schema import DatasetConfig, ExecutorConfig
from improve.datasets import Dataset, prepare
from improve.execution.replicates import derived_seed
from improve.expert.engineer import write
from improve.expert.recipe import DataRecipe, ModelRecipe, TrainingRecipe, changed
from improve.pipeline.export import TEMPLATE
from improve.pipeline.weights import usable_weights

__all__ = ["code", "dataset", "pretrained", "seed_of", "sources", "template"]

KINDS: Mapping[str, Any] = {"data": DataRecipe(), "model": ModelRecipe(), "training": TrainingRecipe()}


def dataset(settings: Mapping[str, Any], path: Path | None, cache: Path) -> Dataset:
    """The images as the product prepares and splits them; `path` is where a source finds its files."""
    config = DatasetConfig(**settings, path=None if path is None else str(path))
    return prepare(config, cache, print)


def pretrained(cache: Path) -> dict[str, dict[str, Any]]:
    """The pretrained weights at hand, as a context wants them."""
    return usable_weights(ExecutorConfig(), cache)


def sources(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The three components that the rule-based expert writes for the settings of each."""
    return {name: write(changed(recipe, settings[name])) for name, recipe in KINDS.items()}


def code(recipes: Iterable[Mapping[str, Mapping[str, Any]]]) -> str:
    """A digest of what trains: the template, and the components of the recipes. With another one, trainings differ."""
    digest = hashlib.sha256()
    for path in sorted(TEMPLATE.glob("*.py")):
        digest.update(path.read_bytes())
    for settings in recipes:
        digest.update("".join(sources(settings).values()).encode())
    return digest.hexdigest()


def seed_of(seed: int, words: str) -> int:
    """A seed that no other words have, as the product derives those of its trainings."""
    return derived_seed(seed, words)


def template(*names: str) -> list[Any]:
    """Modules of the template, which import each other by their bare names, as in an exported pipeline."""
    if str(TEMPLATE) not in sys.path:
        sys.path.insert(0, str(TEMPLATE))
    return [importlib.import_module(name) for name in names]
