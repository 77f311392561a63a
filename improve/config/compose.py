"""From Hydra's composed configuration to the typed one, and Hydra's errors in words for people."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from improve import strategies
from improve.config.llm import LLMConfig, RolesConfig
from improve.config.places import CONF
from improve.config.schema import Config, settle
from improve.errors import ConfigError, nearest

FREE = ("llm.parameters.",)  # what is under these keys is the user's to name
PROSE = ("dataset.description",)  # values that are sentences: a comma in one is no list of values

_HYDRA = threading.Lock()


def to_config(values: DictConfig, search: Sequence[str] = ()) -> Config:
    """The typed configuration. Raises `ConfigError` for keys that the schema does not know (`+key=` slips past it).

    `search` are the overrides that say where else options are found. Hydra must be initialised if roles have models
    of their own.
    """
    known = set(_keys(Config))
    for key in _leaves(OmegaConf.to_container(values, resolve=True)):
        if key not in known and not key.startswith(FREE):
            raise ConfigError(f"there is no key {key!r}.", _near(key))
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [])) from None
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
    search = [f"hydra.searchpath=['file://{config_dir.expanduser().absolute()}']"] if config_dir else []
    try:
        with _hydra_alone(), initialize_config_dir(str(CONF), version_base="1.3"):
            return to_config(compose("config", [*search, *quoted(overrides)]), search)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides)) from None


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


def override(key: str, value: Any) -> str:
    """The Hydra override that sets a key to a Python value: None, bool, int, float, str, or a list of these."""
    return f"{key}={_literal(key, value)}"


def _literal(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return _in_quotes(str(value))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_literal(key, item) for item in value)}]"
    raise ConfigError(
        f"{key} cannot be {value!r} ({type(value).__name__}).", "give a text, a number, True, False or None"
    )


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
            raise ConfigError(f"llm.roles.{role}={option}: there is no llm={option}.", nearest(option, options))
    return {role: _option(option, search) for role, option in wanted.items()}


def _option(name: str, search: Sequence[str]) -> LLMConfig:
    values = compose("config", [*search, f"llm={name}"]).llm
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(LLMConfig), values))
    assert isinstance(config, LLMConfig)
    return dataclasses.replace(config, roles=RolesConfig())


def quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments, with quotes around values that Hydra's grammar cannot read as they are.

    A shell takes the quotes from `dataset.description="Roses, red; or not."`, and Hydra would stumble over the rest.
    """
    return [_quoted(argument) for given in arguments for argument in _own_prompts(given)]


def _own_prompts(argument: str) -> list[str]:
    """`prompts=FOLDER` as the two keys that it stands for; any other argument as it is."""
    key, _, value = argument.partition("=")
    if key != "prompts" or not ("/" in value or value.startswith("~")):
        return [argument]
    return [f"prompts.name={Path(value).name}", f"prompts.path={value}"]


def _quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or value[:1] in ("'", '"'):
        return argument
    try:
        OverridesParser.create().parse_override(argument)
        if key not in PROSE:
            return argument
    except HydraException:
        if not value.strip():
            return argument
    return f"{key}={_in_quotes(value)}"


def _in_quotes(text: str) -> str:
    """A text as Hydra's grammar takes it, whatever it holds."""
    # In Hydra's quotes a backslash is special only where backslashes stand before a quote.
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", "\\'")
    return f"'{escaped}'"


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """One sentence and a fix for what Hydra or OmegaConf could not compose."""
    text = str(error)
    option = re.search(r"(?:Could not find|Could not load) '([\w./-]+)'", text)
    if option and "/" in option[1]:
        group, name = option[1].rsplit("/", 1)
        # Hydra lists what it found, also in the user's own --config-dir.
        listed = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
        options = [line.strip() for line in listed if line.startswith("\t")]
        options = options or [file.stem for file in (CONF / group).glob("*.yaml")]
        return f"there is no {group}={name}.\n  fix: {nearest(name, options)}"
    ambiguous = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous:
        name, _, values = ambiguous[1].partition("=")
        return f"{ambiguous[1]} is several values.\n  fix: -m to run each of them, or a list: {name}=[{values}]"
    key = re.search(r"Could not override '([\w./-]+)'", text) or re.search(r"Key '([\w.]+)' (?:is )?not in", text)
    if key:
        full = next((o.split("=")[0].lstrip("+~") for o in overrides if o.lstrip("+~").startswith(key[1])), key[1])
        if f"{full}.".startswith(FREE):
            return f"{full} takes new names only with a plus sign.\n  fix: for instance +llm.parameters.top_p=0.9"
        return f"there is no key {full!r}.\n  fix: {_near(full)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    full_key = next((line.split(": ", 1)[1] for line in lines if line.startswith("full_key: ")), "")
    # Hydra's first line says in which file; the sentence that says what is wrong comes after it.
    telling = [line for line in lines if not line.startswith(("In '", "full_key:", "reference_type=", "object_type="))]
    what = telling[0] if telling else type(error).__name__
    if error.__cause__ is not None and what.startswith("Error "):
        what = f"{what}: {str(error.__cause__).splitlines()[0]}"
    where = f"{full_key}: " if full_key and full_key not in what else ""
    return f"{where}{what}\n  fix: see the keys and their values with --cfg job"


def _near(key: str) -> str:
    """Keys like this one: by the whole name, or by its last part."""
    keys = list(_keys(Config))
    groups = sorted({k.split(".")[0] for k in keys})
    last = key.rsplit(".", 1)[-1]
    same = [k for k in keys if k.rsplit(".", 1)[-1] == last]
    if same:
        return f"did you mean {' or '.join(same)}?"
    hint = nearest(key, [*keys, *groups])
    close = hint.split("? (valid:")[0] + "? " if hint.startswith("did") else ""
    return f"{close}(--cfg job lists all keys)"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values of a (nested) dataclass."""
    for field in dataclasses.fields(node):
        kind = _dataclass_of(field)
        if kind is not None:
            yield from _keys(kind, f"{prefix}{field.name}.")
        elif "omegaconf_ignore" not in field.metadata:
            yield f"{prefix}{field.name}"


def _dataclass_of(field: dataclasses.Field[Any]) -> Any:
    """The class of a nested dataclass; None for a plain value."""
    factory: Any = field.default_factory
    return factory if dataclasses.is_dataclass(factory) else None


def _leaves(values: Any, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
