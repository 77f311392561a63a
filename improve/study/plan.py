"""The runs of a study, before any of them starts: one for each combination of values that means a run of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString, Transformer
from omegaconf import DictConfig, OmegaConf

from improve.config.checks import check
from improve.config.compose import to_config
from improve.config.schema import Config
from improve.errors import ConfigError
from improve.record.folders import folder_of

_WORD = re.compile(r"(?!(true|false|null|inf|nan)$)[a-z_][\w./-]*", re.IGNORECASE)  # that can be nothing else
Compose = Callable[[Sequence[str]], DictConfig]  # overrides → the whole configuration with them, Hydra's own included


@dataclass(frozen=True)
class Job:
    """One run. `overrides` are Hydra's for it, besides those that are the same for all."""

    overrides: tuple[str, ...]
    config: Config
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Plan:
    """`refused` are combinations that mean no run, with the reason; `same` counts those that mean another's run."""

    jobs: tuple[Job, ...]
    refused: tuple[tuple[str, ConfigError], ...]
    same: int

    @classmethod
    def of(cls, combinations: Iterable[Sequence[str]], compose: Compose) -> Plan:
        """The plan of all combinations of overrides.

        Raises `ConfigError` if several runs would share the folder `run_dir`, and whatever `compose` raises: what does
        not compose is a typing error, of which nothing is run.
        """
        jobs: dict[Path, Job] = {}
        refused: list[tuple[str, ConfigError]] = []
        same = 0
        for overrides in combinations:
            try:
                config = to_checked(compose(overrides))
            except ConfigError as error:
                refused.append((" ".join(overrides), error))
                continue
            job = Job(tuple(overrides), config, folder_of(config))
            first = jobs.setdefault(job.folder, job)
            same += first is not job
            if config.run_dir is not None and first.config != config:
                raise ConfigError(f"run_dir={config.run_dir} is the folder of one run.", "leave it out of a study")
        return cls(tuple(jobs.values()), tuple(refused), same)


def combinations(overrides: Iterable[Override]) -> list[tuple[str, ...]]:
    """Each combination of the values that are given, as overrides of one run; the last value given for a key counts.

    Raises `HydraException` for a range without steps.
    """
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            axes[key] = [f"{key}={value}" for value in override.sweep_iterator(_written)]
        else:
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
    return list(itertools.product(*axes.values()))


def _written(value: Any) -> str:
    """A value of a sweep in Hydra's grammar. Hydra itself would make a number of the text '2024_05'."""
    if isinstance(value, str) and not _WORD.fullmatch(value):
        return str(QuotedString(value, Quote.single).with_quotes())
    return str(Transformer.str(value))


def to_checked(values: DictConfig) -> Config:
    """The configuration of one run of what Hydra has composed for it. Raises `ConfigError`."""
    own = OmegaConf.masked_copy(values, [str(key) for key in values if key != "hydra"])
    config = to_config(own)
    check(config)
    return config


def refuse(overrides: Sequence[Override], compose: Compose) -> None:
    """Refuse what Hydra would carry out without a word as something else. Raises `ConfigError`."""
    for override in overrides:
        if not (override.is_sweep_override() and override.is_discrete_sweep()):
            continue
        values = list(override.sweep_string_iterator())
        if not values:
            raise ConfigError(f"{override.input_line} gives no value, so nothing would run.", "give at least one value")
        if override.get_key_element() == "experiment":
            axes = [value for value in values if compose([f"experiment={value}"]).hydra.sweeper.params]
            if axes:
                raise ConfigError(
                    f"experiment={','.join(values)}: {' and '.join(axes)} would lose the axes that the file gives.",
                    f"start one at a time: experiment={axes[0]}",
                )
