"""What people type, as Hydra's grammar needs it: the value of a text key is text, whatever it looks like.

A shell takes away quotes, and Hydra reads the rest: `2024_05_17` as a number, `a,b` as two values, `[x]` as a list,
`${now}` as a reference. The schema knows which keys hold text, so their values are put in quotes here. Three forms keep
their meaning for such a key: `null` where it may be null, a value that stands in Hydra's quotes as a whole, and in a
sweep a list that says it is one: `llm.model=choice(a,b)`.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from improve.config.check_value import wrong_type
from improve.config.invocation import COMMANDS, command, run_command
from improve.config.keys import MISSING, Key, keys
from improve.config.places import CONF, expanded
from improve.config.schema import Config
from improve.errors import ConfigError

HYDRA = "hydra"  # Hydra's own groups
GROUPS = frozenset(path.name for path in CONF.iterdir() if path.is_dir() and path.name != HYDRA)
FLAGS = ("-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun", "-sc",
         "--shell-completion", "-i", "--info")  # fmt: skip
SWEEPS = ("-m", "--multirun", "hydra.mode=MULTIRUN")
# Hydra's options that are followed by a value.
VALUED = ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
          "--experimental-rerun")  # fmt: skip
_NUMBER = re.compile(r"[+-]?[\d.][\w.+-]*|true|false|inf|nan|null", re.IGNORECASE)  # as a name of an option
# The null proposer by the name that statisticians would try; null itself means nothing in Hydra's files.
WITH_NULL, PLACEBO = ("strategy", "experiment"), "placebo"
_LIST_OF_VALUES = re.compile(r"(choice|range|interval|sort|shuffle|tag|glob)\((.*)\)", re.DOTALL)
_ELEMENT = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,]*?)\s*(?:,|$)""", re.DOTALL)


@functools.cache
def known_keys() -> dict[str, Key]:
    """All keys of the schema by name."""
    return {key.name: key for key in keys(Config)}


def hydra_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line's arguments for Hydra: its own options first, then what is set, in its grammar.

    Raises `ConfigError` for what is neither an option nor a setting.
    """
    options, given = split(arguments)
    for option in options:
        if option.startswith("-") and option.partition("=")[0] not in (*FLAGS, *VALUED):
            raise ConfigError(f"there is no option {option}: settings are KEY=VALUE.", _as_setting(option))
    return [*options, *hydra_overrides(given, is_sweep(arguments))]


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether several runs may be meant: told by an option, or by an experiment, whose file may say so."""
    return any(argument in SWEEPS or argument.startswith("experiment=") for argument in arguments)


def split(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Hydra's options with their values, and what is set."""
    options: list[str] = []
    given: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in VALUED:
            options += [argument, *itertools.islice(rest, 1)]
        elif argument.startswith("-"):
            options.append(argument)
        else:
            given.append(argument)
    return options, given


def hydra_overrides(given: Iterable[str], sweeping: bool = False) -> list[str]:
    """Settings in Hydra's grammar. Raises `ConfigError` for what is none."""
    return [_in_grammar(one, sweeping) for argument in given for one in _own_prompts(argument)]


def commas(given: Iterable[str]) -> Iterator[str]:
    """For each text that might have been meant as several values of a sweep, the words that make it so."""
    for argument in given:
        name, _, value = argument.partition("=")
        key = known_keys().get(name.lstrip("+"))
        text = key is not None and key.is_text and name not in GROUPS
        if text and "," in value and not (_is_in_quotes(value) or _LIST_OF_VALUES.fullmatch(value)):
            yield shlex.quote(f"{name}=choice({value})")


def override(key: str, value: Any) -> str:
    """The setting, in Hydra's grammar, of a key to a Python value: None, bool, int, float, str, or a list of these."""
    return f"{key}={_literal(key, value)}"


def in_quotes(text: str) -> str:
    """A text as Hydra's grammar takes it, whatever it holds, and as OmegaConf then leaves it."""
    # `${` would begin a reference. Backslashes before it are escaped, too; no others are.
    escaped = re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", text)
    return QuotedString(escaped, Quote.single).with_quotes()


def as_typed(key: str, text: str) -> str:
    """The setting of a text key as people type it: in Hydra's quotes only where it would mean something else."""
    setting = f"{key}={text}"
    plain = hydra_overrides([setting], sweeping=True) == [override(key, text)]
    return setting if plain else override(key, text)


def _literal(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return in_quotes(_present(key, str(value)))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_literal(key, item) for item in value)}]"
    raise ConfigError(
        f"{key} cannot be {value!r} ({type(value).__name__}).", "give a text, a number, True, False or None"
    )


def _own_prompts(argument: str) -> list[str]:
    """`prompts=FOLDER` as the two keys that it stands for; any other argument as it is."""
    key, _, value = argument.partition("=")
    if key != "prompts" or not ("/" in value or value.startswith("~")):
        return [argument]
    return [f"prompts.name={Path(value).name}", f"prompts.path={value}"]


def _in_grammar(argument: str, sweeping: bool) -> str:
    name, equals, value = argument.partition("=")
    if argument.startswith("~"):
        return _removal(argument)
    if not (equals and name):
        raise ConfigError(f"{argument!r} sets nothing: settings are KEY=VALUE.", _meant(argument))
    if name in GROUPS:
        return f"{name}={_option(name, value)}"
    key = known_keys().get(name.lstrip("+"))
    if key is None:
        return argument
    if sweeping and (listed := _LIST_OF_VALUES.fullmatch(value)):
        return f"{name}=choice({','.join(_elements(listed[2]))})" if listed[1] == "choice" and key.is_text else argument
    if key.is_text:
        return f"{name}={_text(key, value)}"
    if key.is_list and (texts := _list(value)) is not None:
        return f"{name}={texts}"
    return _readable(key, argument)


def _option(group: str, value: str) -> str:
    """The name of a group's option, or several. What Hydra would take for a number or for nothing is a name, too."""
    if group in WITH_NULL:
        value = ",".join(PLACEBO if name == "null" else name for name in value.split(","))
    return in_quotes(value) if _NUMBER.fullmatch(value) else value


def _removal(argument: str) -> str:
    """`~GROUP` takes an option away. A key cannot be: its value may be null."""
    key = known_keys().get(argument[1:].partition("=")[0])
    if key is None:
        return argument
    raise ConfigError(
        f"{argument}: a key cannot be taken away.", f"{key.name}=null" if key.is_optional else "leave it out"
    )


def _readable(key: Key, argument: str) -> str:
    """An argument that Hydra's grammar can read. Raises `ConfigError` in words for any other."""
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        raise wrong_type(key, argument.partition("=")[2]) from None
    return argument


def _text(key: Key, value: str) -> str:
    """The value of a text key in Hydra's quotes."""
    if value == "null" and key.is_optional:
        return value
    _present(key.name, _unquoted(value))
    return _element(value)


def _present(name: str, text: str) -> str:
    if text == MISSING:
        raise ConfigError(f"{name} cannot be {MISSING}: Hydra takes it for a missing value.", "give it another value")
    return text


def _list(value: str) -> str | None:
    """`[a, 'b']` with each of its texts in quotes; None for anything else, also for several such lists."""
    inside = value.strip()[1:-1]
    if value.strip() != f"[{inside}]" or not inside.strip() or re.search(r"\]\s*,\s*\[", inside):
        return None
    return f"[{','.join(_elements(inside))}]"


def _elements(inside: str) -> list[str]:
    """What stands between commas, each in quotes."""
    found: list[str] = []
    at = 0
    while at < len(inside):
        match = _ELEMENT.match(inside, at)
        assert match is not None, "the last alternative matches any text"
        found.append(_element(match[1]))
        at = match.end()
    return found


def _element(value: str) -> str:
    """A text in quotes; one that is in quotes already as it is, so that nothing in it is escaped twice."""
    return value if _is_in_quotes(value) else in_quotes(value)


def _is_in_quotes(value: str) -> bool:
    return _unquoted(value) != value


def _unquoted(value: str) -> str:
    """The text within quotes that stand around a whole value, as Hydra reads them; any other value as it is."""
    if value[:1] not in ("'", '"') or value[-1:] != value[:1]:
        return value
    try:
        parsed = OverridesParser.create().parse_override(f"x={value}").value()
    except HydraException:
        return value
    return parsed if isinstance(parsed, str) else value


def _as_setting(option: str) -> str:
    """`--dry-run` and `--seed=1` as settings."""
    name, equals, value = option.lstrip("-").partition("=")
    name = name.replace("-", "_")
    found = [key for key in known_keys().values() if key.name.rpartition(".")[2] == name and name != "name"]
    settings = [f"{key.name}={value if equals else 'true' if bool in key.types else key.example}" for key in found]
    if name in GROUPS:
        settings = [f"{name}={value or 'NAME'}"]
    return " or ".join(map(shlex.quote, settings)) or run_command("--help")


def _meant(argument: str) -> str:
    """What somebody may have meant who left out the key."""
    if argument in known_keys():
        return f"{argument}={known_keys()[argument].example}"
    if argument in COMMANDS:
        return command(argument)
    groups = sorted(group for group in GROUPS if (CONF / group / f"{argument}.yaml").is_file())
    if argument and groups:
        return " or ".join(f"{group}={argument}" for group in groups)
    source = "csv" if expanded(argument).is_file() else "folder" if argument and expanded(argument).is_dir() else ""
    if source:
        return shlex.join([f"dataset={source}", as_typed("dataset.path", argument)])
    return "for instance dataset=digits, or seed=1"
