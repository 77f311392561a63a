"""One value against what the schema says of its key."""

from __future__ import annotations

import shlex
from typing import Any

from improve.config.keys import Key
from improve.errors import ConfigError


def wrong_type(key: Key, value: str) -> ConfigError:
    """What is wrong with a value, as it was typed, that is not of its key's type."""
    if key.is_list:
        return ConfigError(f"{key.name}={value} is no list.", shlex.quote(f"{key.name}=[{value.strip('[] ')}]"))
    article = "a " if {int, float} & set(key.types) else ""
    return ConfigError(f"{key.name}={value} is not {article}{key.type_name}.", f"for instance {key.name}={key.example}")


def check_value(key: Key, value: Any, where: str = "") -> None:
    """Raises `ConfigError` for a number below the least, or a text that is no option. `where` comes before the key."""
    if value is None:
        return
    if key.least is not None and value < key.least:
        raise ConfigError(f"{where}{key.name}={value} is too small.", f"use {key.name}={key.least} or more")
    if not key.options:
        return
    for text in value if isinstance(value, list) else [value]:
        if text not in key.options:
            raise ConfigError(f"{where}{key.name}={text} is not an option.", f"use one of {', '.join(key.options)}")
