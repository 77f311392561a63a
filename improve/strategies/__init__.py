"""How a run looks for a better pipeline: one object a strategy, in a file of its own, found by its name.

In comes what a run knows so far (a `Workshop`), out goes the next candidate; what a strategy fixes in the configuration
and whom it asks are values of the object, so that nobody else needs to know it by name. Imports errors and shared
values alone.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from improve.errors import ConfigError, nearest
from improve.strategies.strategy import Candidate, Strategy, Workshop

__all__ = ["Candidate", "Strategy", "Workshop", "find", "known", "names"]


@functools.cache
def _all() -> dict[str, Strategy]:
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    strategies = [module.STRATEGY for module in modules if hasattr(module, "STRATEGY")]
    return {strategy.name: strategy for strategy in strategies}


def names() -> list[str]:
    """What `strategy=` can be."""
    return sorted(_all())


def find(name: str) -> Strategy:
    """The strategy of that name. Raises `ConfigError` with the nearest names."""
    if name not in _all():
        raise ConfigError(f"there is no strategy {name!r}.", nearest(name, names()))
    return _all()[name]


def known(name: object) -> Strategy | None:
    """The strategy of that name on record, None if this version has none: for those that only read."""
    return _all().get(str(name))
