"""Where a run lies, and how far it is by its journal alone: read without loading what carries out runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.naming import run_name
from improve.config.places import expanded
from improve.config.schema import Config
from improve.errors import ConfigError
from improve.record.journal import JOURNAL, LOCK, read

SET_ASIDE = "earlier"  # the folder, in a run's own, of its attempts that were given up
EARLIER_JOURNAL = f"earlier-{JOURNAL}"  # another name, so that no report takes such an attempt for a run
TRACEBACKS = "errors.txt"  # in a run's folder: bugs that broke it off


def folder_of(config: Config) -> Path:
    """Where a run goes, or where an earlier version has put it."""
    outputs = expanded(Path(config.outputs) / config.study).absolute()
    folder, before = (outputs / run_name(config, by_option) for by_option in (False, True))
    if config.run_dir:
        folder = before = expanded(Path(config.run_dir)).absolute()
    try:
        return before if not folder.exists() and (before / JOURNAL).is_file() else folder
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ConfigError(f"{folder} cannot be used: {error.strerror}.", "choose outputs=DIR or run_dir=DIR") from None


def make_folder(folder: Path) -> None:
    """Make a folder if it is missing. Raises `ConfigError` if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}.", "choose outputs=DIR or run_dir=DIR") from None
    if not writable:
        raise ConfigError(f"{folder} cannot be written.", "choose outputs=DIR or run_dir=DIR")


@dataclass(frozen=True)
class Past:
    """What earlier sessions of a run left behind."""

    config: dict[str, Any]  # its settings
    code: str  # SHA-256 of the improve that began it
    finished: bool
    scored: bool  # whether any of its pipelines had a score; False as long as it is not finished
    pipelines: int  # that have a verdict
    calls: int  # that a model answered
    usd: float | None  # what they cost; None: the price of one is not known


def past_of(folder: Path, journal: str = JOURNAL) -> Past | None:
    """What is on record in a run's folder; None if nothing is. Raises `ResumeError` if its journal is damaged."""
    path = folder / journal
    records = read(path)[0] if path.is_file() else []
    if not records:
        return None
    finished = next((record.data for record in records if record.kind == "finished"), None)
    prices = [record.data["usd"] for record in records if record.kind == "llm"]
    return Past(
        config=records[0].data.get("config", {}),
        code=records[0].data.get("code", ""),
        finished=finished is not None,
        scored=finished is not None and finished["best"] is not None,
        pipelines=sum(record.kind == "verdict" for record in records),
        calls=len(prices),
        usd=None if None in prices else sum(prices),
    )


def earlier_attempts(folder: Path) -> list[str]:
    """A sentence for each attempt at a run that was set aside, oldest first: how far it came, and what it cost."""
    said = []
    for attempt in sorted((folder / SET_ASIDE).glob("*/")):
        past = past_of(attempt, EARLIER_JOURNAL)
        if past is not None:
            paid = "at a price that is not known" if past.usd is None else f"for {past.usd:.2f} USD"
            end = (
                "no pipeline could be scored" if past.finished else f"it broke off (pipelines judged: {past.pipelines})"
            )
            said.append(
                f"This run was started again: in an earlier attempt {end}. That one asked {past.calls} times {paid}, "
                f"which the costs shown do not hold; it is kept in {SET_ASIDE}/{attempt.name}."
            )
    return said


def set_aside(folder: Path) -> Path:
    """Move what a run's folder holds out of the way of a new attempt, and keep it; gives where it is.

    To be called with the lock held.
    """
    target = folder / SET_ASIDE / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    target.mkdir(parents=True, exist_ok=False)
    for path in sorted(folder.iterdir()):
        if path.name not in (SET_ASIDE, LOCK):
            path.rename(target / (EARLIER_JOURNAL if path.name == JOURNAL else path.name))
    return target
