"""How a run looks for a better pipeline. A strategy is a function that drives a `Workshop` through its iterations."""

from __future__ import annotations

from collections.abc import Callable

from improve.errors import ConfigError, nearest
from improve.strategies.iterative import iterative
from improve.strategies.workshop import Workshop

STRATEGIES: dict[str, Callable[[Workshop], None]] = {"iterative": iterative}


def strategy(name: str) -> Callable[[Workshop], None]:
    """The strategy of that name. Raises `ConfigError` with the nearest names."""
    if name not in STRATEGIES:
        raise ConfigError(f"there is no strategy {name!r}.", nearest(name, STRATEGIES))
    return STRATEGIES[name]
