"""A cassette: the replies that a run recorded, so that they can be given again without network, key or money.

Any run's folder is one, since its journal holds every call. `improve cassette RUN -o FILE` makes a small file of it
that can be read and kept: JSON, each reply as a list of its lines, no prompts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from improve.config.invocation import command
from improve.config.places import expanded
from improve.errors import LLMError, ResumeError
from improve.record import journal

FORMAT = "improve cassette, version 1"
MISSING = object()


class Call(pydantic.BaseModel):
    """One recorded call. `order` counts the calls of its role in its iteration, from 0."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    role: str
    iteration: int
    order: int
    model: str
    request: str  # SHA-256 of the prompt
    finish_reason: str
    tokens: dict[str, int]
    reply: tuple[str, ...]  # its lines

    @property
    def text(self) -> str:
        return "\n".join(self.reply)


class Recorded(pydantic.BaseModel):
    """The settings and the machine of the run that was recorded: with others, its prompts are others."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, str | int | float | None]  # a few that decide the prompts, by their keys
    improve: str
    hardware: str


class Cassette(pydantic.BaseModel):
    """All calls of a run, in order. `licence` and `note` are for whoever finds the file."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    model: str
    licence: str = ""
    note: str = ""
    recorded: Recorded
    calls: tuple[Call, ...]

    @property
    def last_iteration(self) -> int:
        return max(call.iteration for call in self.calls)

    def find(self, role: str, iteration: int, order: int, request: str) -> Found | None:
        """The recorded call for a question: one with the same prompt (the nearest), else the one of the same step."""
        same = [call for call in self.calls if (call.role, call.request) == (role, request)]
        if same:
            return Found(min(same, key=lambda c: (abs(c.iteration - iteration), abs(c.order - order))), "request")
        for call in self.calls:
            if (call.role, call.iteration, call.order) == (role, iteration, order):
                return Found(call, "step")
        return None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Found:
    """A recorded call, and by what it was found: "request" (the same prompt) or "step" (role, iteration, order)."""

    call: Call
    by: str


# What decides the prompts of a run, besides the images and the model.
SETTINGS = (
    "dataset.name", "strategy.name", "strategy.iterations", "strategy.candidates", "prompts.name",
    "executor.fit_seconds", "seed",
)  # fmt: skip


def settings_of(config: dict[str, Any]) -> dict[str, str | int | float | None]:
    """The decisive ones of a run's settings, by their dotted keys; those that its version did not have are left out."""
    found = {}
    for key in SETTINGS:
        value: Any = config
        for part in key.split("."):
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING:
            found[key] = value
    return found


def read(path: Path) -> Cassette:
    """The cassette in a file, a journal or a run's folder. Raises `LLMError` if there is none."""
    path = expanded(path)
    if path.is_dir() or path.name == journal.JOURNAL:
        return of_run(path if path.is_dir() else path.parent)
    try:
        cassette = Cassette.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LLMError(f"there is no cassette at {path}: {error.strerror}.", "give a run's folder, or a file") from None
    except UnicodeDecodeError:
        raise LLMError(f"{path} is no cassette: it is not text.", _make_one()) from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise LLMError(
            f"{path} is no cassette: {f'{where}: ' if where else ''}{first['msg']}.",
            _make_one(),
        ) from None
    if cassette.format != FORMAT:
        raise LLMError(
            f"{path} has the format {cassette.format!r}; this version reads {FORMAT!r}.", "record it with this version"
        )
    return _not_empty(cassette, path)


def of_run(folder: Path, licence: str = "", note: str = "") -> Cassette:
    """The calls on record in a run's folder. Raises `LLMError` if it holds none."""
    try:
        records = journal.read(folder / journal.JOURNAL).records
    except OSError:
        raise LLMError(f"{folder} holds no run (it has no {journal.JOURNAL}).", "give the folder of a run") from None
    except ResumeError as error:
        raise LLMError(error.what, error.fix) from None
    run = next((record.data for record in records if record.kind == "run"), None)
    if run is None:
        raise LLMError(f"{folder} holds no run yet.", "give the folder of a run")
    orders: dict[tuple[str, int], int] = {}
    calls = []
    for data in (record.data for record in records if record.kind == "llm"):
        step = (data["role"], data["iteration"])
        orders[step] = orders.get(step, -1) + 1
        kept = {name: data[name] for name in ("role", "iteration", "model", "request", "finish_reason", "tokens")}
        calls.append(Call(**kept, order=orders[step], reply=tuple(data["reply"].split("\n"))))
    recorded = Recorded(
        settings=settings_of(run["config"]), improve=run["versions"]["improve"], hardware=run["hardware"]
    )
    models = ", ".join(sorted({call.model for call in calls}))
    cassette = Cassette(model=models, licence=licence, note=note, recorded=recorded, calls=tuple(calls))
    return _not_empty(cassette, folder)


def _not_empty(cassette: Cassette, path: Path) -> Cassette:
    if not cassette.calls:
        raise LLMError(f"{path} holds no reply.", "record a run first")
    return cassette


def _make_one() -> str:
    return f"make one: {command('cassette', 'RUN', '-o', 'FILE.json')}"
