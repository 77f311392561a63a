"""One place for cells on a node of a cluster: it opens them as a run on one machine does, one after the other.

Whoever holds it calls one method at a time, and gives and gets text, bytes and numbers: nothing that generated code has
written is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import platform
import queue
import secrets
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from improve.config.places import expanded
from improve.config.schema import ExecutorConfig
from improve.datasets.store import file_hash
from improve.domain import Reason
from improve.errors import SandboxError
from improve.execution import machine
from improve.execution.cell import START_SECONDS, Cell, Outcome, limits_of, new_zygote
from improve.execution.cluster.job import DATA, END, EVENT, INPUTS, LOG, PIPELINE, PRETRAINED, WEIGHTS, Job
from improve.execution.cluster.network import Peers, Unreachable, address, require_device
from improve.execution.cluster.store import CHUNK, READABLE, Store
from improve.execution.place import Place
from improve.record.provenance import code_hash
from improve.record.space import LITTLE
from improve.sandbox import Sandbox, choose, remove, shown_in

GIB = 1024**3
SECONDS_OF_LOOK = 60.0
LOCK = ".lock"  # ends the name of what the owner of a folder for cells holds
MOST_MESSAGES = 1000  # that are sent at once
# How long a node waits until the others of a training are there; until they have ended as well as its own part has; and
# until its own end, a failure, has shown there.
MEETING_SECONDS, END_SECONDS, FAILED_SECONDS = START_SECONDS, 60.0, 1.0


def report(settings: str) -> str:
    """What a node offers, as JSON: `host`, `tier`, `hardware`, `gpus`, `code`, …; or the `error` [what, fix]."""
    asked = Settings(settings)
    try:
        sandbox = choose(asked.mode)
        if asked.config.num_nodes > 1:
            require_device()
    except SandboxError as error:
        return json.dumps({"host": platform.node(), "error": [error.what, error.fix]})
    return json.dumps(_report(asked, sandbox))


def _report(asked: Settings, sandbox: Sandbox) -> dict[str, Any]:
    return {
        "host": platform.node(),
        "tier": sandbox.tier.name,
        "how_to_improve": sandbox.how_to_improve,
        "hardware": machine.described(asked.config.threads or 1, asked.config),
        "gpus": len(machine.gpu_names()),
        "code": code_hash(),
        "versions": {"python": platform.python_version(), **machine.library_versions()},
    }


class Settings:
    """What a station is made with. `text`: JSON with `config` (an `ExecutorConfig` for the node itself) and `mode`."""

    def __init__(self, text: str) -> None:
        values = json.loads(text)
        self.config = ExecutorConfig(**values["config"])
        self.mode: str = values["mode"]
        self.cache = node_cache(values["cache_dir"])
        self.cache_bytes: float = values["cache_gib"] * GIB


def node_cache(cache_dir: str | None) -> Path:
    """Where a node keeps what it was sent: as configured, else $IMPROVE_NODE_CACHE, else ~/.cache/improve-node."""
    return expanded(cache_dir or os.environ.get("IMPROVE_NODE_CACHE") or "~/.cache/improve-node").absolute()


class Station:
    """See the module. Raises `SandboxError` where generated code cannot be confined as the configuration demands."""

    def __init__(self, settings: str) -> None:
        self._asked = Settings(settings)
        cache = self._asked.cache
        self._store = Store(cache / "files", self._asked.cache_bytes)
        self._cells, self._lock = _own_folder(cache / "cells")
        self._log = self._cells.with_suffix(".log")
        self._sent = 0  # bytes of the log
        self._messages: queue.Queue[bytes] = queue.Queue()
        self._refusal: list[str] = []
        self._looked = False
        self._peers: Peers | None = None
        try:
            self._sandbox = choose(self._asked.mode)
        except SandboxError as error:
            self._refusal = [error.what, error.fix]
        else:
            self._zygote = new_zygote()

    def report(self) -> str:
        """As the function `report`."""
        if self._refusal:
            return json.dumps({"host": platform.node(), "error": self._refusal})
        return json.dumps(_report(self._asked, self._sandbox))

    def listen(self, host: str) -> int:
        """Await the other nodes of the next job at this machine's address; gives the port."""
        self._peers = Peers(host)
        return self._peers.port

    def lacking(self, text: str) -> list[str]:
        """The hashes of a job's files that are not here."""
        return self._store.lacking(Job.read(text).files.values())

    def begin(self, text: str) -> list[str]:
        """Carry out a `Job`; gives the hashes of files that are not here: if there are any, nothing has begun."""
        job = Job.read(text)
        lacking = self._store.lacking(job.files.values())
        if lacking:
            return lacking
        place = Place(self._cells)
        try:
            self._fill(place.folder, job)
        except FileNotFoundError:  # another station has made room meanwhile
            place.remove()
            return self._store.lacking(job.files.values())
        self._messages, self._sent = queue.Queue(), 0
        self._log.write_bytes(b"")
        threading.Thread(target=self._carry_out, args=(job, place), name="cell", daemon=True).start()
        return []

    def receive(self, sha: str, offset: int, data: bytes, last: bool) -> None:
        """The next bytes of a file that is lacking."""
        self._store.receive(sha, offset, data, last)

    def poll(self, seconds: float) -> list[bytes]:
        """What there is to tell, after this time at most. Each begins with its kind."""
        found: list[bytes] = []
        try:
            found.append(self._messages.get(timeout=seconds))
            while len(found) < MOST_MESSAGES:
                found.append(self._messages.get_nowait())
        except queue.Empty:
            pass
        printed = self._printed()
        return [LOG + printed, *found] if printed else found

    def read(self, sha: str, offset: int) -> bytes:
        """The next bytes of a file that a command has left."""
        return self._store.read(sha, offset)

    def close(self) -> None:
        if self._peers:
            self._peers.close()
        self._store.close()
        if not self._refusal:
            self._zygote.close()
        remove(self._cells)
        for file in (self._log, self._cells.with_suffix(LOCK)):
            file.unlink(missing_ok=True)
        self._lock.close()

    def _printed(self) -> bytes:
        with open(self._log, "rb") as file:
            file.seek(self._sent)
            printed = file.read(CHUNK)
        self._sent += len(printed)
        return printed

    def _fill(self, place: Path, job: Job) -> None:
        """Put the files there: of the candidate, copies of its own; of what many are given, links."""
        for folder in (INPUTS, PRETRAINED):
            (place / folder).mkdir()
            (place / folder).chmod(READABLE)
        for name, sha in job.files.items():
            target = place / name
            if target.parent.name in (PIPELINE, WEIGHTS):
                shutil.copyfile(self._store.path(sha), target)
                target.chmod(READABLE & 0o666)
            else:
                self._store.link(sha, target)
        for sha in job.passing:
            self._store.forget(sha)

    def _carry_out(self, job: Job, place: Place) -> None:
        """In a thread of its own; whatever happens, the last message says how it ended."""
        try:
            end = self._ended(job, place)
        except SandboxError as error:
            end = {"refused": [error.what, error.fix]}
        except Exception:  # noqa: BLE001  # told to whoever asked, who raises it
            end = {"bug": traceback.format_exc()}
        self._messages.put(END + json.dumps(end).encode())

    def _ended(self, job: Job, place: Place) -> dict[str, Any]:
        with closing(self._open(place, job)) as cell:
            if self._sandbox.tier.verified and not self._looked:
                self._look(cell)
                self._looked = True
            try:
                outcome = self._run(cell, job, place)
            except Unreachable as error:
                return {"lost": f"{platform.node()}: {error}"}
            failure = outcome.failure
            if failure and failure.reason is Reason.DISK and self._is_full():
                return {"lost": f"the disk of {platform.node()} that holds {self._cells.parent} is full"}
            taken = self._take(cell, job) if job.take and failure is None else {}
        if outcome.data:
            self._messages.put(DATA + outcome.data)
        return {"failure": failure and failure.record(), "seconds": outcome.seconds, **taken}

    def _run(self, cell: Cell, job: Job, place: Place) -> Outcome:
        """Have the cell carry it out; with those of the other nodes, once all are there. Raises `Unreachable`."""
        command, together, peers = job.addressed(place.folder), job.together, self._peers
        if together is None:
            return cell.run(command, job.seconds, self._tell, job.data_bytes)
        assert peers
        with closing(peers):
            outcome = cell.warm_up()
            if outcome.failure:
                return outcome
            peers.join(together, cell.packets, cell.kill, time.monotonic() + MEETING_SECONDS)
            outcome = cell.run(command, job.seconds, self._tell, job.data_bytes)
            peers.leave(FAILED_SECONDS if outcome.failure else END_SECONDS)
        if peers.trouble:
            raise Unreachable(peers.trouble)
        return outcome

    def _open(self, place: Place, job: Job) -> Cell:
        config, limits = self._asked.config, limits_of(self._asked.config)
        if job.together:
            limits = dataclasses.replace(limits, address=address(job.together.node))
        return Cell(
            self._sandbox,
            self._zygote,
            place,
            readable=[place.folder / INPUTS, place.folder / PRETRAINED],
            limits=limits,
            log=self._log,
            devices=machine.gpu_devices(config),
        )

    def _look(self, cell: Cell) -> None:
        """Look for the files that this node was sent from where generated code will run. Raises `SandboxError`."""
        folder = self._store.folder
        shown = shown_in(folder)
        token = f".improve-canary-{secrets.token_hex(8)}"
        canary = folder / token
        seen: list[str] = [f"{folder}, which lies in {shown}"] if shown else []
        canary.touch()
        try:
            command = {"command": "look", "paths": [str(canary), str(self._log)], "token": token}
            failed = cell.run(command, SECONDS_OF_LOOK, lambda event: seen.extend(event.get("paths", []))).failure
        finally:
            canary.unlink()
        if failed:
            raise SandboxError(f"Generated code cannot run on {platform.node()}: {failed.message}", "improve doctor")
        if seen:
            raise SandboxError(
                f"Generated code would see {', '.join(seen[:3])} on {platform.node()}: the sandbox does not hide it.",
                "choose another folder there: executor.ray.cache_dir=DIR",
            )

    def _tell(self, event: dict[str, Any]) -> None:
        self._messages.put(EVENT + json.dumps(event).encode())

    def _is_full(self) -> bool:
        return shutil.disk_usage(self._cells.parent).free < LITTLE

    def _take(self, cell: Cell, job: Job) -> dict[str, Any]:
        """What the command has left, as one of the store's files; or the number of the error that this gave."""
        taken = self._store.coming
        try:
            cell.take(job.take, taken, job.limit)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and self._is_full():
                return {"lost": f"the disk of {platform.node()} is full"}
            return {"errno": error.errno}
        sha, size = file_hash(taken), taken.stat().st_size
        self._store.keep(taken, sha)
        return {"sha": sha, "bytes": size}


def _own_folder(above: Path) -> tuple[Path, IO[bytes]]:
    """A new folder for cells, and the lock that says that it is in use; those that nobody holds are removed.

    Only this machine's: nodes may share `above` by a file system on which a lock is seen by one of them alone.
    """
    above.mkdir(parents=True, exist_ok=True)
    above.chmod(READABLE)
    here = platform.node().replace(".", "_")  # what follows a point is what `with_suffix` takes away
    for left in above.glob(f"{here}-*{LOCK}"):
        with open(left, "r+b") as file, _held(file) as free:  # to be written: NFS locks nothing else
            if free:
                remove(left.with_suffix(""))
                left.with_suffix(".log").unlink(missing_ok=True)
                left.unlink(missing_ok=True)
    folder = above / f"{here}-{secrets.token_hex(4)}"
    lock = open(folder.with_suffix(LOCK), "wb")  # noqa: SIM115  # held as long as the station is there
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder.mkdir()
    folder.chmod(READABLE)
    return folder, lock


@contextmanager
def _held(file: IO[bytes]) -> Iterator[bool]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
