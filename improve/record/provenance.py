"""Which code made a result; and no resuming of a run when what decides its result has changed."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from improve.errors import RunChanged
from improve.record.journal import Journal

PACKAGE = Path(__file__).resolve().parents[1]
# What must be as it was for a run to go on; the rest of the `run` record only describes.
DECISIVE = ("config", "prompts", "cassette", "dataset", "code", "tier")
CODE_CHANGED = "the code of improve itself has changed"


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
