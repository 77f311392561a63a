"""From Hydra's composed configuration to the typed one."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from improve import strategies
from improve.config.explain import FREE, explained, near, other_model
from improve.config.overrides import hydra_overrides, known_keys
from improve.config.places import CONF, expanded
from improve.config.schema import Config, LLMConfig, RolesConfig
from improve.config.settling import settle
from improve.errors import ConfigError, nearest

_HYDRA = threading.Lock()


def to_config(values: DictConfig, search: Sequence[str] = ()) -> Config:
    """The typed configuration. Raises `ConfigError` for keys that the schema does not know (`+key=` slips past it).

    `search` are the overrides that say where else options are found. Hydra must be initialised if roles have models
    of their own.
    """
    for key in _leaves(OmegaConf.to_container(values, resolve=True)):
        if key not in known_keys() and not key.startswith(FREE):
            raise ConfigError(f"there is no key {key!r}.", near(key))
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise explained(error, []) from None
    assert isinstance(config, Config)
    config.role_llms = _role_llms(config.llm.roles, search)
    strategy = strategies.find(config.strategy.name)
    if strategy.llm:
        config = dataclasses.replace(config, llm=_option(strategy.llm, search), role_llms={})
    return settle(config, strategy)


def register_schema() -> None:
    """Make the typed schema known to Hydra, so that a misspelt key or a wrong type fails while it composes."""
    ConfigStore.instance().store(name="schema", node=Config)


def config_from(overrides: Sequence[str], config_dir: Path | None = None) -> Config:
    """The typed configuration of these Hydra overrides, outside of a Hydra program. Raises `ConfigError`.

    `config_dir` is what `--config-dir` is to a run.
    """
    register_schema()
    search = [f"hydra.searchpath=['file://{expanded(config_dir).absolute()}']"] if config_dir else []
    try:
        with _hydra_alone(), initialize_config_dir(str(CONF), version_base="1.3"):
            return to_config(compose("config", [*search, *hydra_overrides(overrides)]), search)
    except (HydraException, OmegaConfBaseException) as error:
        raise explained(error, overrides) from None


@contextmanager
def _hydra_alone() -> Iterator[None]:
    """Hydra's state is global: one thread at a time, and that of a program which uses Hydra itself is set aside."""
    with _HYDRA:
        before = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.instance().hydra = before


def _role_llms(roles: RolesConfig, search: Sequence[str]) -> dict[str, LLMConfig]:
    """The settings of the options that roles are given, by role: as conf/llm has them, whatever else is given."""
    wanted = {role: str(option) for role, option in dataclasses.asdict(roles).items() if option is not None}
    if not wanted:
        return {}
    options = (
        GlobalHydra.instance().config_loader().get_group_options("llm", config_name="config", overrides=list(search))
    )
    for role, option in wanted.items():
        if option not in options:
            raise ConfigError(
                f"llm.roles.{role}={option}: there is no llm={option}.",
                nearest(option, options) + other_model(option, role=True),
            )
    return {role: _option(option, search) for role, option in wanted.items()}


def _option(name: str, search: Sequence[str]) -> LLMConfig:
    values = compose("config", [*search, f"llm={name}"]).llm
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(LLMConfig), values))
    assert isinstance(config, LLMConfig)
    return dataclasses.replace(config, roles=RolesConfig())


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
