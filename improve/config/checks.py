"""Values of the configuration that are out of range or do not go together: refused before anything is spent."""

from __future__ import annotations

import dataclasses

from improve.config.check_llm import check_llm
from improve.config.check_value import check_value
from improve.config.keys import keys, value_of
from improve.config.schema import Config, DatasetConfig, ExecutorConfig, TrackingConfig
from improve.errors import ConfigError


def check(config: Config) -> None:
    """Refuse values that are out of range or do not go together, naming the keys. Raises `ConfigError`."""
    for each in keys(Config):
        if not each.name.startswith("llm."):
            check_value(each, value_of(config, each.name))
    for name in ("dataset.selection_fraction", "dataset.test_fraction", "acceptance.alpha"):
        share = value_of(config, name)
        if not 0 < share < 1:
            raise ConfigError(f"{name}={share} is not between 0 and 1.", f"use for instance {name}=0.2")
    if not all(c.isalnum() or c in "._-" for c in config.study) or config.study.startswith("."):
        raise ConfigError(f"study={config.study} cannot be a folder's name.", "use letters, digits, '.', '_' and '-'")
    _check_tracking(config.tracking)
    _check_protocol(config)
    _check_dataset(config.dataset)
    _check_executor(config.executor)
    for key, limit in dataclasses.asdict(config.budget).items():
        if limit is not None and limit <= 0:
            raise ConfigError(f"budget.{key}={limit} is not above 0.", f"leave budget.{key} away for no limit")
    for llm in (config.llm, *config.role_llms.values()):
        check_llm(llm)
    if any(llm.cassette for llm in config.role_llms.values()) or (config.llm.cassette and config.role_llms):
        raise ConfigError("llm.roles does not go together with llm=replay.", "leave out llm.roles: a cassette has all")


def _check_tracking(tracking: TrackingConfig) -> None:
    """What W&B would refuse, and long after the run had begun."""
    for key, name in (("project", tracking.project), ("entity", tracking.entity)):
        if name is not None and (not name.strip() or len(name) > 128 or set(name) & set("/\\#?%:")):
            raise ConfigError(f"tracking.{key}={name} cannot be a name in W&B.", "use 1 to 128 characters, no /\\#?%:")
    for tag in tracking.tags:
        if not 1 <= len(tag) <= 64:
            raise ConfigError(f"tracking.tags: {tag!r} cannot be a tag in W&B.", "use 1 to 64 characters")


def _check_protocol(config: Config) -> None:
    """`protocol=paper` means its rules as a whole: a mixture would be neither comparable nor honest."""
    for key, value, needed, given in (
        ("acceptance.rule", config.acceptance.rule, "paper", "acceptance=… or acceptance.rule=…"),
        ("strategy.repairs", config.strategy.repairs, 0, "strategy.repairs=…"),
    ):
        if config.protocol == "paper" and value != needed:
            raise ConfigError(
                f"protocol=paper and {key}={value} do not go together: under the paper's protocol it is {needed}.",
                f"leave out {given}, or leave out protocol=paper",
            )


def _check_executor(executor: ExecutorConfig) -> None:
    slots, gpus, devices = executor.slots, executor.ray.num_gpus, executor.devices
    if slots != "auto" and not (slots.isdecimal() and int(slots) >= 1):
        raise ConfigError(f"executor.slots={slots} is no number of trainings.", "use auto, or a number from 1 on")
    if executor.name != "ray" and devices > 1 and slots not in ("auto", "1"):
        raise ConfigError(
            f"executor.slots={slots} and executor.devices={devices} do not go together: a training that has several "
            "devices has all of this machine.",
            "use executor.slots=1, or executor.devices=1",
        )
    if executor.name != "ray" and executor.num_nodes > 1:
        raise ConfigError(
            f"executor.num_nodes={executor.num_nodes} needs the nodes of a Ray cluster, and executor={executor.name} "
            "is this machine alone.",
            "use executor=ray (docs/cluster.md), or executor.num_nodes=1",
        )
    if executor.name == "ray" and 0 < gpus != devices and (devices > 1 or gpus > 1):
        raise ConfigError(
            f"executor.ray.num_gpus={gpus:g} and executor.devices={devices} do not go together: a training would hold "
            "other GPUs than it uses.",
            f"use executor.ray.num_gpus={devices}, or executor.devices={int(gpus) or 1}",
        )


def _check_dataset(dataset: DatasetConfig) -> None:
    if dataset.channels not in (None, 1, 3):
        raise ConfigError(f"dataset.channels={dataset.channels} is not an option.", "use 1 (grey), 3 (RGB) or null")
    if dataset.severity not in (None, 1, 5):
        raise ConfigError(f"dataset.severity={dataset.severity} is not an option.", "use 1 or 5")
    for source, hint in (
        ("folder", "DIR, the folder that has one folder for each class"),
        ("csv", "FILE.csv, a table of image paths and labels"),
        ("hub", "OWNER/NAME, a dataset of the Hugging Face hub, or a folder that holds one"),
    ):
        if dataset.source == source and not dataset.path:
            raise ConfigError(f"dataset={source} needs dataset.path.", f"add dataset.path={hint}")
    counts = {"train": dataset.train, "selection": dataset.selection, "test": dataset.test}
    given = [f"dataset.{name}" for name, count in counts.items() if count is not None]
    if dataset.subset is not None and 0 < len(given) < len(counts):
        raise ConfigError(
            f"dataset.subset does not go together with {' and '.join(given)} alone.",
            "give all of dataset.train, dataset.selection and dataset.test, or none of them, or no subset",
        )
