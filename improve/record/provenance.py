"""Where a result comes from: settings, data, code, versions, machine; and no resuming when what decides it changed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from improve import __version__
from improve.agents.prompts import PromptSet
from improve.config.schema import UNREFINED, Config, settings
from improve.datasets import Dataset
from improve.errors import RunChanged
from improve.execution import machine
from improve.llm.backend import Source
from improve.record.history import PAPER_PROTOCOL
from improve.record.journal import Journal
from improve.sandbox import Sandbox

PACKAGE = Path(__file__).resolve().parents[1]
# What must be as it was for a run to go on; the rest of the `run` record only describes.
DECISIVE = ("config", "prompts", "cassette", "dataset", "code", "tier")
CODE_CHANGED = "the code of improve itself has changed"


def run_record(
    config: Config, prompts: PromptSet, source: Source, dataset: Dataset, sandbox: Sandbox, name: str
) -> dict[str, Any]:
    """The `run` record (see `improve.record.kinds.RunRecord`)."""
    notes = source.notes(settings(config))
    if config.protocol == "paper":
        notes.append(
            f"{PAPER_PROTOCOL}: the images that would have selected train instead, any increase counts, and code that "
            "fails is not repaired."
        )
    if config.strategy.name in UNREFINED:
        notes.append(
            f"strategy={config.strategy.name} asks one prompt a pipeline: the paper's sentence, then the contract that "
            "makes the answer scorable, of which the paper's baseline was told nothing."
        )
    if config.acceptance.rule == "paper":
        notes.append("acceptance=paper takes any increase in accuracy: small gains may be luck.")
    if not sandbox.tier.verified:
        notes.append("Generated code was not confined: the scores are unverified.")
    return {
        "name": name,
        "study": config.study,
        "config": settings(config),
        "prompts": {"name": prompts.name, "hash": prompts.hash()},
        "versions": {"improve": __version__, "python": platform.python_version(), **machine.library_versions()},
        "hardware": machine.description(config.executor),
        "commit": commit(),
        "code": code_hash(),
        "tier": sandbox.tier.name,
        "tier_description": sandbox.description.removeprefix(f"{sandbox.tier.name}: "),
        "verified": sandbox.tier.verified,
        "dataset": dataset.record(),
        "card": dataset.card(),
        "cassette": source.identity(),
        "budget": dataclasses.asdict(config.budget),
        "notes": notes,
    }


def check_resume(journal: Journal, record: dict[str, Any], folder: Path, other_code: bool = False) -> None:
    """Refuse to go on with a run whose settings, data or code have changed. Raises `RunChanged` listing what has.

    With `other_code`, our own code may have: that is noted, and the journal sees to it that the steps are the same.
    """
    past = journal.peek("run")
    if past is None:
        return
    before = functools.reduce(lambda known, note: {**known, **note}, journal.notes("code"), past.data)
    changes = [line for key in DECISIVE for line in differences(before.get(key), record[key], key)]
    if changes == [CODE_CHANGED] and other_code:
        journal.note("code", {key: record[key] for key in ("code", "commit", "versions")})
    elif changes:
        raise RunChanged(
            f"{folder} holds a run with other settings:{listed(changes)}",
            "give the settings it was started with, or start another run in a folder of its own (run_dir=…); "
            "with retry_failed=true a run that is not finished goes on by other code if the steps are the same, and is "
            "else set aside and started again",
        )


def listed(changes: Iterable[str]) -> str:
    """Differences as lines below a sentence."""
    return "".join(f"\n    {change}" for change in changes)


def differences(old: Any, new: Any, key: str) -> Iterator[str]:
    """A line for each value that is another, "KEY: OLD → NEW"; `key` is what both are called."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), f"{key}.{name}")
    elif old != new and key == "code":
        yield CODE_CHANGED
    elif old != new:
        yield f"{key.removeprefix('config.')}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@functools.cache
def code_hash() -> str:
    """SHA-256 over our own sources: another version may take other steps."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(file.relative_to(PACKAGE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@functools.cache
def commit() -> str:
    """The commit of the checkout that this code runs from, "+dirty" if it has changes; "" outside of a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
