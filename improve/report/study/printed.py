"""What the paper prints in its tables (`paper.yaml`), as frozen values; and which column a run's settings belong to."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

METHODS = ("improve", "no_upi", "no_ir", "best_of_n", "zero_shot", "random")  # in the order of a table's columns
OTHER_MODELS = {"offline_random": "offline"}  # a baseline that stands in a column, beside the expert it imitates


@dataclass(frozen=True)
class Printed:
    """Mean and standard deviation of test accuracy over the paper's trials, as fractions."""

    mean: float
    std: float

    def text(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f}"


@dataclass(frozen=True)
class Method:
    """A column: the name of the settings that make it, and how it is called."""

    name: str
    label: str


@dataclass(frozen=True)
class PrintedRow:
    """A row of a table: its dataset and language model, a cell by column name, and what else stands in it."""

    llm: str
    dataset: str
    cells: Mapping[str, Printed]
    also: tuple[str, ...]


@dataclass(frozen=True)
class PrintedTable:
    """One of the paper's tables. `also` names the columns of `PrintedRow.also`; `setup` is how its runs were made."""

    name: str
    title: str
    source: str
    methods: tuple[Method, ...]
    also: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    setup: Mapping[str, str]

    def row(self, llm: str, dataset: str) -> PrintedRow | None:
        return next((row for row in self.rows if (row.llm, row.dataset) == (llm, dataset)), None)


@functools.cache
def _paper() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("paper.yaml").read_text("utf-8"))
    return document


def trials() -> int:
    """How many trials each printed mean is over."""
    return int(_paper()["trials"])


def dataset_label(name: str) -> str:
    """How the paper calls a dataset; our own name for others."""
    return str(_paper()["datasets"].get(name, name))


@functools.cache
def tables() -> dict[str, PrintedTable]:
    """The paper's tables by the name of the study that rebuilds them: table1 … table6, figure2."""
    return {name: _table(name, values) for name, values in _paper()["tables"].items()}


def _table(name: str, values: Mapping[str, Any]) -> PrintedTable:
    columns = values["columns"]
    return PrintedTable(
        name=name,
        title=values["title"],
        source=values["source"],
        methods=tuple(Method(column, _paper()["columns"][column]["label"]) for column in columns),
        also=tuple(values.get("also", ())),
        rows=tuple(
            PrintedRow(
                llm=row["llm"],
                dataset=row["dataset"],
                cells={column: Printed(*row[column]) for column in columns},
                also=tuple(row.get("also", ())),
            )
            for row in values["rows"]
        ),
        setup={**_paper()["setup"], **values.get("setup", {})},
    )


def method_of(settings: Mapping[str, str], *, as_printed: bool) -> Method:
    """The column of a run with these settings: one of the paper's, else one that the settings name.

    `as_printed`: called as the paper calls it, else by the strategy's own name.
    """
    if settings.get("llm.name") in OTHER_MODELS:
        return Method("random", f"{_plain(settings)}, random choices")
    for name, column in _paper()["columns"].items():
        if all(settings.get(key) == value for key, value in column["settings"].items()):
            return Method(name, column["label"] if as_printed else _plain(settings))
    return Method(settings.get("strategy.name", "?"), _plain(settings))


def _plain(settings: Mapping[str, str]) -> str:
    """A strategy as its settings call it."""
    without = ", no UPI" if settings.get("strategy.unified_initialization") == "false" else ""
    return settings.get("strategy.name", "?").replace("_", " ") + without


def llm_label(settings: Mapping[str, str]) -> str:
    """The language model of a run: the option's name, and the model's own where the option may be given any.

    Only runs whose label is the option's name alone can be compared with what the paper prints for that model.
    """
    name, model = settings.get("llm.name", "?"), settings.get("llm.model", "")
    name = OTHER_MODELS.get(name, name)
    bare = model.rsplit("/", 1)[-1]
    several = any(key.startswith("llm.roles.") and value != "null" for key, value in settings.items())
    own = {"local", *(row.llm for table in tables().values() for row in table.rows)}
    another = name in own and bare != name and not bare.startswith(f"{name}-20")  # a dated snapshot is the model itself
    return name + (f" ({bare})" if another else "") + (" and others" if several else "")
