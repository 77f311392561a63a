"""A prompt set: one Jinja text for each role, chosen by `prompts=`. Rendered here and nowhere else.

A role's file holds the system text and the user text, with the line `---user---` between them. Files whose name begins
with an underscore are included by others. A variable that a text asks for and nobody gives is an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import jinja2

from improve.domain import Role
from improve.errors import ConfigError, nearest

SHIPPED = Path(__file__).parent / "conf" / "prompts"
SEPARATOR = "---user---"


@dataclass(frozen=True)
class Prompt:
    """What one call sends."""

    system: str
    user: str


class PromptSet:
    """The texts of all roles. Raises `ConfigError` where the folder or a role's file is missing."""

    def __init__(self, name: str, path: str | None = None) -> None:
        folder = Path(path).expanduser() if path else SHIPPED / name
        if not folder.is_dir():
            sets = [p.name for p in SHIPPED.iterdir() if p.is_dir()]
            raise ConfigError(f"there is no prompt set at {folder}.", f"choose prompts={nearest(name, sets)}")
        self.name, self.folder = name, folder
        for role in get_args(Role):
            if not (folder / f"{role}.j2").is_file():
                raise ConfigError(f"the prompt set {folder} lacks {role}.j2.", f"add it, or copy {SHIPPED / 'improve'}")
        self._texts = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # prompts are plain text
        )

    def hash(self) -> str:
        """SHA-256 over all texts of the set."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.glob("*.j2")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()

    def render(self, role: Role, **variables: Any) -> Prompt:
        """The two texts of a role. Raises `ConfigError` naming the file and what is wrong with it."""
        file = f"{role}.j2"
        title = role.replace("_", " ").title()
        values = {"title": {"Architect": "Project Architect", "Analyst": "Performance Analyst"}.get(title, title)}
        try:
            text = self._texts.get_template(file).render(**values, **variables)
        except jinja2.UndefinedError as error:
            raise ConfigError(
                f"{self.folder / file}: {error.message}.", f"use one of {', '.join(sorted({**values, **variables}))}"
            ) from None
        except jinja2.TemplateError as error:
            raise ConfigError(f"{self.folder / file}: {error}.", "mend the text") from None
        system, found, user = text.partition(SEPARATOR)
        if not found:
            raise ConfigError(f"{self.folder / file} has no line {SEPARATOR}.", "put it before what the user says")
        return Prompt(_tidy(system), _tidy(user))


def _tidy(text: str) -> str:
    """At most one empty line in a row, outside of what matters to nobody."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.strip() or (lines and lines[-1].strip()):
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"
