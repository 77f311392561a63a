"""`improve keys [GROUP]`: every key with its type, its default and its meaning, as the schema says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from improve.config.keys import MISSING, Key, groups
from improve.config.overrides import GROUPS, known_keys
from improve.config.places import CONF
from improve.config.schema import Config
from improve.errors import ConfigError, nearest


def keys_text(names: Sequence[str] = ()) -> str:
    """The keys of these groups, or these keys; all where none is named. Raises `ConfigError` for an unknown name."""
    chosen = [key for name in names for key in _named(name)] if names else list(known_keys().values())
    parts: list[str] = []
    group = None
    for key in chosen:
        if (own := key.name.rpartition(".")[0].split(".")[0]) != group:
            group = own
            parts.append(_heading(group) if group else "Keys of no group")
        parts.append(_entry(key))
    return "\n".join(parts)


def _named(name: str) -> list[Key]:
    found = [key for key in known_keys().values() if key.name == name or key.name.startswith(f"{name}.")]
    if not found:
        raise ConfigError(f"there is no group or key {name!r}.", nearest(name, [*groups(Config), *known_keys()]))
    return found


def _heading(group: str) -> str:
    lines = [f"\n{group}: {groups(Config)[group]}"]
    if group in GROUPS:
        options = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
        lines.append(f"  options: {group}={', '.join(options)}")
    return "\n".join(lines)


def _entry(key: Key) -> str:
    least = f", at least {key.least:g}" if key.least is not None else ""
    return f"  {key.name}={_shown(key.default)}  ({key.type_name}{least})\n      {key.meaning}"


def _shown(default: Any) -> str:
    """A default as it would be typed."""
    if default == MISSING:
        return "(by the option)"
    return yaml.safe_dump(default, default_flow_style=True, width=1000).splitlines()[0] if default != "" else ""
