"""Where images come from: each module of this package is a source, found by its name (`dataset.source`).

A source defines two functions:

    key(config, downloads) -> str                what the images depend on, found out quickly, without reading them;
                                                 refuses what can be refused by then (`DataError`)
    load(config, downloads, notify) -> Source    the images, their classes, and the splits that come with them

`Source`, `Downloads` and helpers are in `improve/datasets/source.py`, `files.py`, `table.py` and `fetch.py`. Adding a
source takes one file here and one `conf/dataset/NAME.yaml`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Protocol, cast

from improve.config.schema import DatasetConfig
from improve.datasets.source import Downloads, Source
from improve.errors import ConfigError, nearest


class SourceModule(Protocol):
    """What a module of this package defines."""

    key: Callable[[DatasetConfig, Downloads], str]
    load: Callable[[DatasetConfig, Downloads, Callable[[str], None]], Source]


def names() -> list[str]:
    """The valid values of `dataset.source`."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> SourceModule:
    """The module of a source. Raises `ConfigError` naming the nearest valid ones."""
    if name not in names():
        raise ConfigError(f"dataset.source={name} is unknown.", nearest(name, names()))
    return cast(SourceModule, importlib.import_module(f"{__name__}.{name}"))
