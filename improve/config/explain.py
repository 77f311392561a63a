"""What Hydra or OmegaConf could not compose, as one sentence and a fix that works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from improve.config.check_value import wrong_type
from improve.config.invocation import install_command, run_command
from improve.config.listed import overrides_for
from improve.config.overrides import GROUPS, known_keys
from improve.config.places import CONF
from improve.errors import ConfigError, nearest

FREE = ("llm.parameters.",)  # what is under these keys is the user's to name
# Hydra's plugins that are packages of their own, by the options that they bring.
PLUGINS = {
    "hydra/launcher": {
        "ray_aws": "hydra-ray-launcher",
        "rq": "hydra-rq-launcher",
        "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher",
    },
    "hydra/sweeper": {
        "ax": "hydra-ax-sweeper",
        "nevergrad": "hydra-nevergrad-sweeper",
        "optuna": "hydra-optuna-sweeper",
    },
}


def explained(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """The error for people that stands for one of Hydra's or OmegaConf's. `overrides` are what was set."""
    text = str(error)
    for explain in (_option, _several, _key, _value):
        found = explain(text, overrides)
        if found is not None:
            return found
    return _in_its_words(error, text)


def near(key: str) -> str:
    """Keys like this one: by the whole name, or by its last part."""
    last = key.rsplit(".", 1)[-1]
    same = [known for known in known_keys() if known.rsplit(".", 1)[-1] == last]
    if same:
        return f"did you mean {' or '.join(same)}?"
    hint = nearest(key, [*known_keys(), *GROUPS])
    close = hint.split("? (valid:")[0] + "? " if hint.startswith("did") else ""
    return f"{close}(all keys: {_all_keys()})"


def _all_keys() -> str:
    return run_command("--cfg", "job")


def _option(text: str, overrides: Sequence[str]) -> ConfigError | None:
    """A group has no such option."""
    found = re.search(r"(?:Could not find|Could not load) '([\w./@-]+)'", text)
    if not found or "/" not in found[1]:
        return None
    group, name = found[1].rsplit("/", 1)
    package = PLUGINS.get(group, {}).get(name)
    if package:
        return ConfigError(f"{group}={name} needs {package}, which is not installed.", install_command(package))
    # Hydra lists what it found, also in the user's own --config-dir.
    listed = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
    options = [line.strip() for line in listed if line.startswith("\t")]
    options = options or [file.stem for file in (CONF / group).glob("*.yaml")]
    options += PLUGINS.get(group, {})
    fix = nearest(name, options)
    return ConfigError(f"there is no {group}={name}.", f"{fix}{other_model(name)}" if group == "llm" else fix)


def other_model(name: str, role: bool = False) -> str:
    """How to ask a language model that is no option of ours; for a `role`, an option is needed."""
    of_provider = "" if role else f"\n       another model of a provider: {overrides_for(name)}"
    file = f"DIR/llm/{name}.yaml (conf/llm/gpt-4o.yaml is an example) and --config-dir DIR"
    return f"{of_provider}\n       an option of your own: {file}"


def _several(text: str, overrides: Sequence[str]) -> ConfigError | None:
    """Several values without a sweep."""
    found = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if not found:
        return None
    name, _, values = found[1].partition("=")
    key = known_keys().get(name)
    if key is not None and key.is_list:
        return wrong_type(key, values)
    return ConfigError(f"{found[1]} is several values.", "add -m to run each of them")


def _key(text: str, overrides: Sequence[str]) -> ConfigError | None:
    """There is no such key."""
    found = re.search(r"Could not override '([\w./-]+)'", text) or re.search(r"Key '([\w.]+)' (?:is )?not in", text)
    if not found:
        return None
    full = next((o.split("=")[0].lstrip("+~") for o in overrides if o.lstrip("+~").startswith(found[1])), found[1])
    if f"{full}.".startswith(FREE):
        setting = next((o for o in overrides if o.startswith(f"{full}=")), f"{full}=VALUE")
        return ConfigError(f"{full} takes new names only with a plus sign.", shlex.quote(f"+{setting}"))
    return ConfigError(f"there is no key {full!r}.", near(full))


def _value(text: str, overrides: Sequence[str]) -> ConfigError | None:
    """A value of the wrong type."""
    merged = re.match(r"Error merging override \+*([\w.]+)=(.*)", text, re.DOTALL)
    if merged and (key := known_keys().get(merged[1])):
        return wrong_type(key, merged[2])
    key = known_keys().get(_full_key(text))
    converted = re.search(r"Value '(.*)' (?:of type|is not)", text, re.DOTALL)
    return wrong_type(key, converted[1]) if key and converted else None


def _full_key(text: str) -> str:
    return next((line.strip()[10:].strip() for line in text.splitlines() if line.strip().startswith("full_key:")), "")


def _in_its_words(error: Exception, text: str) -> ConfigError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Hydra's first line says in which file; the sentence that says what is wrong comes after it.
    telling = [line for line in lines if not line.startswith(("In '", "full_key:", "reference_type=", "object_type="))]
    what = telling[0] if telling else type(error).__name__
    if error.__cause__ is not None and what.startswith("Error "):
        what = f"{what}: {str(error.__cause__).splitlines()[0]}"
    name = _full_key(text)
    where = f"{name}: " if name and name not in what else ""
    return ConfigError(f"{where}{what}", f"see the keys and their values: {_all_keys()}")
