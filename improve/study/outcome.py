"""What became of one run of a study. It travels back from whichever process the run was in."""

from __future__ import annotations

import enum
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.decisive import settings
from improve.config.schema import Config
from improve.errors import ImproveError, InUse, RunChanged, RunFailed
from improve.record.folders import TRACEBACKS, folder_of, past_of


class State(str, enum.Enum):
    DONE = "done"
    SKIPPED = "skipped"  # there was nothing to do, or another process does it
    FAILED = "failed"
    STOPPED = "stopped"  # it has begun, and the same command goes on with it
    WAITING = "not started"


@dataclass(frozen=True)
class Outcome:
    """`note` is a sentence, with its fix on a second line; "" where there is nothing to say."""

    name: str  # of the run
    state: State
    note: str = ""
    exit_code: int = 0
    in_use: bool = False  # another process does it

    @classmethod
    def failed(cls, name: str, error: ImproveError) -> Outcome:
        return cls(name, State.FAILED, str(error), error.exit_code)


def carry_out(config: Config) -> Outcome:
    """Do one run of a study, unless there is nothing left to do. Whatever is wrong with it does not stop the others."""
    folder = folder_of(config)
    try:
        known = on_record(config)
        if known is not None:
            return known
        # Torch and all that: only where there is something to do.
        from improve.session import run

        run(config, resume=None)
    except InUse as error:
        return Outcome(folder.name, State.SKIPPED, error.what, in_use=True)
    except ImproveError as error:
        print(f"error in {folder.name}: {error}", file=sys.stderr)
        return Outcome.failed(folder.name, error)
    except Exception as bug:  # noqa: BLE001  # the border of a run: a bug in one is shown and kept, and stops no other
        return Outcome(folder.name, State.FAILED, _kept(bug, folder), ImproveError.exit_code)
    return Outcome(folder.name, State.DONE)


def on_record(config: Config) -> Outcome | None:
    """The outcome of a run that has ended before; None if there is something left to do.

    Its images are not looked at. Raises `ResumeError` if its journal is damaged, or has other settings.
    """
    folder = folder_of(config)
    past = past_of(folder)
    if past is None or not past.finished or (config.retry_failed and not past.scored):
        return None
    # It is costly to import, and code_hash reads all our sources: only where a run is finished.
    from improve.record.provenance import code_hash, differences, listed

    # Keys that are newer than the run have values that change nothing, else it would have another name.
    changes = list(differences(past.config, _within(settings(config), past.config), "config"))
    if changes:
        raise RunChanged(
            f"{folder} holds a run with other settings:{listed(changes)}",
            "give the settings it was started with, or another study=NAME",
        )
    if not past.scored:
        none = RunFailed(
            f"none of its pipelines ({past.pipelines}) could be scored, which is this run's result.",
            "retry_failed=true keeps this attempt and starts another",
        )
        return Outcome.failed(folder.name, none)
    other = "" if past.code == code_hash() else "it was finished by other code of improve than today's"
    return Outcome(folder.name, State.SKIPPED, other)


def _within(values: Any, known: Any) -> Any:
    """The part of `values` whose keys are in `known`."""
    if isinstance(values, dict) and isinstance(known, dict):
        return {key: _within(value, known[key]) for key, value in values.items() if key in known}
    return values


def _kept(bug: Exception, folder: Path) -> str:
    """Show a bug's traceback and keep it in the run's folder; gives a sentence on it."""
    text = "".join(traceback.format_exception(bug))
    print(text, file=sys.stderr)
    path = folder / TRACEBACKS
    what = f"a bug: {traceback.format_exception_only(bug)[-1].strip()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC\n{text}\n")
    except OSError as error:
        return f"{what} (its traceback is above; it could not be kept in {path}: {error.strerror})"
    return f"{what} (its traceback is in {path})"
