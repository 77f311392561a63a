"""What a key of the configuration is: its type, default and meaning, as the schema says them; all keys by name."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
MISSING = "???"  # OmegaConf's sign for a value that an option has to give
NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
EXAMPLES = {str: "TEXT", int: "100", float: "0.5", bool: "true"}


def key(default: T, meaning: str, *, options: Sequence[str] = (), least: float | None = None) -> T:
    """A field of the schema. `meaning` is what people read, with the unit.

    `options` are all values there are, if they are few; `least` is the smallest number that makes sense.
    """
    metadata = {"meaning": meaning, "options": tuple(options), "least": least}
    if isinstance(default, (list, dict)):
        made: Any = default.copy
        return cast(T, field(default_factory=made, metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One value that a person can set. `name` has dots: "executor.fit_seconds"."""

    name: str
    kind: Any  # its type annotation
    default: Any
    meaning: str
    options: tuple[str, ...]
    least: float | None

    @property
    def types(self) -> tuple[Any, ...]:
        return get_args(self.kind) if get_origin(self.kind) in (Union, types.UnionType) else (self.kind,)

    @property
    def is_text(self) -> bool:
        """Whether its values are free text, which is taken as it is typed."""
        return str in self.types and not self.options

    @property
    def is_list(self) -> bool:
        return any(get_origin(kind) is list for kind in self.types)

    @property
    def is_optional(self) -> bool:
        return type(None) in self.types

    @property
    def example(self) -> str:
        """A value as it may be typed."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, (int, float)):
            return str(self.default)
        return next((given for kind, given in EXAMPLES.items() if kind in self.types), "{}")

    @property
    def type_name(self) -> str:
        """The type in words: "whole number or null"; "paired | paper" where there are few values."""
        if self.options and not self.is_list:
            return " | ".join(self.options)
        return " or ".join(map(_in_words, self.types))


def keys(node: Any, prefix: str = "") -> Iterator[Key]:
    """All keys of a (nested) dataclass of the schema, in its order."""
    hints = get_type_hints(node)
    for each in dataclasses.fields(node):
        factory: Any = each.default_factory
        if dataclasses.is_dataclass(factory):
            yield from keys(factory, f"{prefix}{each.name}.")
        elif "omegaconf_ignore" not in each.metadata:
            default = each.default if factory is dataclasses.MISSING else factory()
            said = {"meaning": "", "options": (), "least": None, **each.metadata}
            yield Key(prefix + each.name, hints[each.name], default, **said)


def groups(node: Any) -> dict[str, str]:
    """The groups of keys in a dataclass of the schema, each with what it decides: the docstring of its class."""
    found = {each.name: each.default_factory for each in dataclasses.fields(node)}
    return {name: str(kind.__doc__) for name, kind in found.items() if dataclasses.is_dataclass(kind)}


def value_of(config: Any, name: str) -> Any:
    """What a configuration holds under a key with dots."""
    return functools.reduce(getattr, name.split("."), config)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is list:
        return "list of texts"
    if get_origin(kind) is dict:
        return "mapping"
    return NAMES[kind]
