"""A prompt set: one Jinja text for each role, chosen by `prompts=`. Rendered here and nowhere else.

A role's file holds the system text and the user text, with the line `---user---` between them. Files whose name begins
with an underscore are included by others. A set need hold only the texts that differ: the others are those of the set
`improve`. A variable that a text asks for and nobody gives is an error, and so is one that a role cannot do without and
no text of it uses; both are found when the set is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jinja2
from jinja2 import meta, nodes

from improve.config.places import CONF, expanded
from improve.domain import Prompt, Role
from improve.errors import ConfigError, nearest

SHIPPED = CONF / "prompts"
DEFAULT = SHIPPED / "improve"
SEPARATOR = "---user---"
# What each role is given. The first group it cannot do without: a text that never shows it makes the role guess.
# `all_components` is true where every component changes in every iteration (strategy=global).
_ENGINEER = (
    ("context", "sources", "feedback", "error"),
    ("title", "card", "all_components", "component", "plan", "fresh", "log"),
)
VARIABLES: dict[Role, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "architect": (("context", "unified"), ("title", "card", "all_components", "error")),
    "data_engineer": _ENGINEER,
    "model_engineer": _ENGINEER,
    "training_engineer": _ENGINEER,
    "analyst": (("context", "history", "log", "sources"), ("title", "card", "all_components", "mistakes", "siblings")),
    "summarizer": (("step", "diff"), ("title", "card", "all_components", "context")),
    "zero_shot": (("context", "num_classes"), ("title", "card", "all_components")),
}


OPTIONAL = ("log", "mistakes", "siblings")  # "" where there is none


class PromptSet:
    """The texts of all roles. Raises `ConfigError` where the folder is missing or a text of it is faulty."""

    def __init__(self, name: str, path: str | None = None) -> None:
        folder = expanded(path) if path else SHIPPED / name
        if not folder.is_dir():
            sets = [p.name for p in SHIPPED.iterdir() if p.is_dir()]
            raise ConfigError(f"there is no prompt set at {folder}.", f"choose prompts={nearest(name, sets)}")
        self.name, self.folder = name, folder
        if not any((folder / f"{role}.j2").is_file() for role in get_args(Role)) and not any(folder.glob("_*.j2")):
            raise ConfigError(
                f"the folder {folder} holds no prompts.",
                f"put ROLE.j2 files there (roles: {', '.join(get_args(Role))}), for instance copies from {DEFAULT}",
            )
        self._texts = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder, DEFAULT]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # prompts are plain text
        )
        for role in get_args(Role):
            self._check(role)

    def hash(self) -> str:
        """SHA-256 over all texts of the set, also those that it takes from the set `improve`."""
        files = {file.name: file for folder in (DEFAULT, self.folder) for file in folder.glob("*.j2")}
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
        return digest.hexdigest()

    def render(self, role: Role, **variables: Any) -> Prompt:
        """The two texts of a role. Raises `ConfigError` naming the file and what is wrong with it."""
        file = f"{role}.j2"
        title = role.replace("_", " ").title()
        values = {"title": {"Architect": "Project Architect", "Analyst": "Performance Analyst"}.get(title, title)}
        values |= dict.fromkeys(OPTIONAL, "")
        try:
            text = self._texts.get_template(file).render({**values, **variables})
        except jinja2.TemplateError as error:
            raise ConfigError(f"{self._path(file)}: {error}.", "mend the text") from None
        system, _, user = text.partition(SEPARATOR)
        return Prompt(_tidy(system), _tidy(user))

    def _check(self, role: Role) -> None:
        """Refuse a role's texts that ask for a variable which it is never given, or leave out a necessary one."""
        required, further = VARIABLES[role]
        used: set[str] = set()
        separated = False
        for file, source, tree in self._trees(f"{role}.j2"):
            separated = separated or SEPARATOR in source.splitlines()
            asked = meta.find_undeclared_variables(tree)
            for variable in sorted(asked - {*required, *further}):
                raise ConfigError(
                    f"{self._path(file)}: there is no variable {variable!r} for the {role}.",
                    nearest(variable, [*required, *further]),
                )
            used |= asked
        for variable in required:
            if variable not in used:
                raise ConfigError(
                    f"{self._path(f'{role}.j2')}: the variable {variable!r} is never used, and the {role} needs it.",
                    f"put {{{{ {variable} }}}} where it belongs, as in {DEFAULT / f'{role}.j2'}",
                )
        if not separated:
            raise ConfigError(
                f"{self._path(f'{role}.j2')} has no line {SEPARATOR}.", "put it before what the user says"
            )

    def _trees(self, file: str) -> Iterator[tuple[str, str, nodes.Template]]:
        """A text and all that it includes: file, source and syntax tree of each."""
        waiting, seen = [file], set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            try:
                source, _, _ = self._texts.loader.get_source(self._texts, name)  # type: ignore[union-attr]
                tree = self._texts.parse(source, name)
            except jinja2.TemplateNotFound:
                raise ConfigError(f"{self._path(file)} includes {name}, which does not exist.", "add it") from None
            except (jinja2.TemplateSyntaxError, UnicodeDecodeError) as error:
                raise ConfigError(f"{self._path(name)}: {error}.", "mend the text") from None
            waiting += [found for found in meta.find_referenced_templates(tree) if found]
            yield name, source, tree

    def _path(self, file: str) -> Path:
        """Where a text comes from: the set's own folder, else the shipped set."""
        return self.folder / file if (self.folder / file).is_file() else DEFAULT / file


def _tidy(text: str) -> str:
    """At most one empty line in a row, outside of what matters to nobody."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.strip() or (lines and lines[-1].strip()):
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"
