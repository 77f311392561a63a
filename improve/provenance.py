"""Where a result comes from: settings, data, code, versions, machine; and no resuming when what decides it changed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from improve import __version__
from improve.config import UNREFINED, Config, settings
from improve.datasets import Dataset
from improve.errors import ResumeError
from improve.execution import machine
from improve.history import PAPER_PROTOCOL
from improve.journal import Journal
from improve.llm.source import Source
from improve.prompts import PromptSet
from improve.sandbox import Sandbox

PACKAGE = Path(__file__).resolve().parent
# What must be as it was for a run to go on; the rest of the `run` record only describes.
DECISIVE = ("config", "prompts", "cassette", "dataset", "code", "tier")


def run_record(
    config: Config, prompts: PromptSet, source: Source, dataset: Dataset, sandbox: Sandbox, name: str
) -> dict[str, Any]:
    """The `run` record (see `improve.records.RunRecord`)."""
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


def check_resume(journal: Journal, record: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run whose settings, data or code have changed. Raises `ResumeError` listing what has."""
    past = journal.peek("run")
    if past is None:
        return
    changes = [line for key in DECISIVE for line in _differences(past.data.get(key), record[key], key)]
    if changes:
        listed = "\n    ".join(changes)
        raise ResumeError(
            f"{folder} holds a run with other settings:\n    {listed}",
            "give the settings it was started with, or start another run in a folder of its own (run_dir=…)",
        )


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}")
    elif old != new and key == "code":
        yield "the code of improve itself has changed"
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
