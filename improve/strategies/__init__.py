"""How a run looks for a better pipeline. A strategy is a function that drives a `Workshop` through its iterations."""

from __future__ import annotations

from collections.abc import Callable

from improve.errors import ConfigError, nearest
from improve.refinement.workshop import Workshop
from improve.strategies.all_at_once import all_at_once
from improve.strategies.iterative import iterative
from improve.strategies.zero_shot import zero_shot

STRATEGIES: dict[str, Callable[[Workshop], None]] = {
    "iterative": iterative,
    "global": all_at_once,
    "zero_shot": zero_shot,
    "best_of_n": zero_shot,
}


def strategy(name: str) -> Callable[[Workshop], None]:
    """The strategy of that name. Raises `ConfigError` with the nearest names."""
    if name not in STRATEGIES:
        raise ConfigError(f"there is no strategy {name!r}.", nearest(name, STRATEGIES))
    return STRATEGIES[name]
