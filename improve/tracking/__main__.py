"""The process that logs a run to W&B: `python -m improve.tracking RUN [--upload]`, for any run, also an old one.

With `--follow` (how a run starts it) it goes on until its standard input ends, as it does when the run ends, however
that happens. What it does is told on standard output: in words, or to the run as JSON objects, a line each. Errors of
wandb end it, with their traceback in the log beside what wandb itself prints.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from improve.config.invocation import script_command
from improve.errors import ImproveError
from improve.record import journal
from improve.record.history import History
from improve.record.journal import JOURNAL
from improve.sandbox.guard import linux
from improve.tracking.logger import FOLDER, Logger, Target
from improve.tracking.tracker import KEY
from improve.tracking.upload import upload

POLL_SECONDS = 1.0
NICE = 10  # a training has the machine first
STATE = "tracked.json"  # in the folder of ours: what has been logged of which journal
LOG = "tracking.log"


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    # Generated code that shares our user could else read the key from /proc.
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    key = os.environ.pop(KEY, "")
    run: Path = given.run.absolute()
    teller = Teller(os.dup(1), given.follow)
    try:
        if not given.follow:
            History.read(run)  # refuse what is no run before a folder is made in it
        _settle_in(run, given.follow)
        track(run, given, key, teller)
    except ImproveError as error:
        return _failed(str(error), error.exit_code, teller)
    except OSError as error:
        return _failed(str(error), 1, teller)
    return 0


def _failed(reason: str, code: int, teller: Teller) -> int:
    teller.say("failed", reason)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m improve.tracking", description="log a run to Weights & Biases")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--upload", action="store_true", help="upload it (default: write it into the run's folder)")
    parser.add_argument("--project", default="improve")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"))
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit of the upload")
    parser.add_argument("--follow", action="store_true", help="until standard input ends")
    return parser


class Teller:
    """Tells a person, or the run and the log, how far it is. The run may not be listening any more."""

    def __init__(self, descriptor: int, machine: bool) -> None:
        self._descriptor = descriptor
        self._machine = machine

    def say(self, state: str, sentence: str) -> None:
        if not self._machine:
            print(f"error: {sentence}" if state == "failed" else sentence, flush=True)
            return
        print(sentence, file=sys.stderr, flush=True)
        try:
            os.write(self._descriptor, json.dumps({"state": state, "sentence": sentence}).encode() + b"\n")
        except BrokenPipeError:
            return  # the run has ended


def track(run: Path, given: argparse.Namespace, key: str, teller: Teller) -> None:
    """Log the run to its end, then upload it if asked to."""
    target = Target(given.project, given.entity, tuple(given.tag))
    with _alone(run):
        os.nice(NICE)
        state = _logged(run, target, given.follow, teller)
        folder = run / FOLDER / state["folder"]
        command = script_command("wandb", "sync", str(folder))
        if state["url"]:
            teller.say("done", f"uploaded: {state['url']}")
            return
        if not given.upload:
            teller.say("done", f"written; upload it with: {command}")
            return
        teller.say("uploading", f"the upload goes on by itself; if it fails: {command}")
        done = upload(folder, _base_url(), key, given.seconds)
        if done.failure:
            teller.say("done", f"not uploaded: {done.failure}; later: {command}")
            return
        where = done.url or f"project {target.project}"
        _save(run, {**state, "url": where})
        teller.say("done", f"uploaded: {where}")


def _logged(run: Path, target: Target, follow: bool, teller: Teller) -> dict[str, Any]:
    """Log the run until it ends; gives the state: at once, if all of it has been logged before."""
    state = _load(run)
    if state and state["of"] == _identity(run, target) and History.read(run).is_finished:
        return state
    logger, history = Logger(run, target), None
    for history in _growing(run, follow):
        logger.update(history)
    if history is None:
        raise ImproveError(f"{run} holds no run yet.")
    identity = _identity(run, target)
    teller.say("logging", "the run is being logged")
    state = {"of": identity, "folder": logger.finish(history).name, "url": ""}
    _save(run, state)
    return state


def _growing(run: Path, follow: bool) -> Iterator[History]:
    """The run's history each time that its journal has grown, the last time after the run has ended."""
    size, ended = 0, not follow
    while True:
        ended = ended or bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])
        now = (run / JOURNAL).stat().st_size
        if now > size:
            size = now
            records = journal.read(run / JOURNAL).records
            if records:
                yield History.of(records)
        if ended:
            return


def _identity(run: Path, target: Target) -> dict[str, Any]:
    """What a state is of: the journal only ever grows."""
    return {"bytes": (run / JOURNAL).stat().st_size, **asdict(target), "tags": list(target.tags)}


def _load(run: Path) -> dict[str, Any]:
    """The state that an earlier session left; empty if there is none, or what it tells of is gone."""
    try:
        state = json.loads((run / FOLDER / STATE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return state if (run / FOLDER / state["folder"]).is_dir() else {}


def _save(run: Path, state: dict[str, Any]) -> None:
    path = run / FOLDER / STATE
    part = path.with_name(STATE + ".part")
    part.write_text(json.dumps(state))
    os.replace(part, path)


def _base_url() -> str:
    """The server that wandb's own settings name."""
    import wandb

    return str(wandb.setup().settings.base_url)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Wait until an earlier session's process, which may still be uploading, has ended."""
    with open(run / FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _settle_in(run: Path, follow: bool) -> None:
    """Our folder in the run's. A process that follows leaves its standard streams to wandb, as a log."""
    (run / FOLDER).mkdir(exist_ok=True)
    # Wherever wandb leaves something, it is in there: what it stages must outlive this process.
    os.environ["WANDB_DIR"] = str(run)
    os.environ["WANDB_DATA_DIR"] = str(run / FOLDER / "data")
    if follow:
        with open(run / FOLDER / LOG, "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())
