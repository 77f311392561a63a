"""The executor of a run whose trainings and predictions happen on a Ray cluster."""

from __future__ import annotations

import concurrent.futures
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from improve.datasets.dataset import IMAGES, LABELS
from improve.datasets.store import file_hash
from improve.domain import COMPONENTS, Failure, Reason, Split
from improve.errors import ClusterError
from improve.execution.cell import KILLED_FOR, Outcome
from improve.execution.cluster.connection import Connection
from improve.execution.cluster.job import INPUTS, PIPELINE, PRETRAINED, WEIGHTS, Job
from improve.execution.cluster.network import Together
from improve.execution.cluster.post import Crew, Lost
from improve.execution.local import CELLS, FITTING, LOST, LocalExecutor
from improve.execution.predictions import Probabilities
from improve.execution.warm import Key, Kind
from improve.pipeline.export import MAX_WEIGHTS, delivered_weights
from improve.pipeline.export import WEIGHTS as WEIGHTS_FILE
from improve.sandbox import Sandbox, Tier

# How long the other nodes of a training have to say what went wrong there, too, when one has: it may be the reason.
REASON_SECONDS = 10.0
STAGES = {"smoke": "check", "fit": "training"}  # what the display calls them; all else: predicting
HERE = ("pipeline", "work", "data", "lane")  # what a command says of this machine


class NodeSandbox(Sandbox):
    """How generated code is confined on the nodes, as far as records and people need to know. Starts nothing here."""

    def __init__(self, tier: Tier, how_to_improve: str = "") -> None:
        super().__init__()
        self.tier, self.how_to_improve = tier, how_to_improve

    def missing(self) -> None:
        return None

    def _launch(self, *given: object) -> NoReturn:
        raise NotImplementedError("generated code runs on the nodes")

    def _fork(self, *given: object) -> NoReturn:
        raise NotImplementedError("generated code runs on the nodes")


@dataclass
class RayExecutor(LocalExecutor):
    """A `LocalExecutor` whose cells are on the nodes of a cluster. `hardware`: what the roles are told of a node.

    `note(kind, data)` records that a training was lost.
    """

    connection: Connection = field(kw_only=True)
    hardware: str = field(kw_only=True)
    note: Callable[[str, dict[str, Any]], None] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hashes: dict[tuple[Any, ...], str] = {}

    def context(self, phase: str = "") -> dict[str, Any]:
        return {**super().context(phase), "hardware": self.hardware}

    def expect(self, key: Key) -> None:
        """Nothing starts early: it would hold what others could use."""

    def discard(self, iteration: int, keep_work: bool) -> None:
        super().discard(iteration, keep_work)
        self.connection.release()

    def close(self) -> None:
        self.connection.close()
        super().close()

    def delivered(self, best: Path, split: Split) -> Probabilities | Failure:
        context = json.loads((best / "context.json").read_text(encoding="utf-8"))
        context["pretrained"] = {n: {**w, "file": str(best / w["file"])} for n, w in context["pretrained"].items()}
        own = self.context()
        context |= {name: own[name] for name in ("accelerator", "threads")}
        cell = RemoteCell(self, "test", 0, self.dataset.inputs_folder(split), None)
        cell.place.fill(best, best)
        command, rows = {"command": "predict", "context": context}, self.dataset.counts[split]
        return self.predicted(cell.run(command, self.config.predict_seconds, data_bytes=self.bytes_of(rows)), rows)

    def hash(self, path: Path) -> str:
        """SHA-256 of a file that nodes are sent, hexadecimal. Those of prepared images are on record."""
        known = self.dataset.files.get(str(path.relative_to(self.dataset.folder))) if self._prepared(path) else None
        if known:
            return known
        status = path.stat()
        state = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if state not in self._hashes:
            self._hashes[state] = file_hash(path)
        return self._hashes[state]

    def _prepared(self, path: Path) -> bool:
        return path.is_relative_to(self.dataset.folder)

    def _open(self, kind: Kind, iteration: int, replicate: int = 0) -> RemoteCell:  # type: ignore[override]
        log = self.log(kind, iteration, replicate)
        return RemoteCell(self, kind, iteration, self._inputs(kind, iteration, replicate), log)


class RemotePlace:
    """What a cell on a node will see of a candidate: files of this machine, by the names that they have there."""

    pipeline, weights, work = Path(PIPELINE), Path(WEIGHTS), Path("work")

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def fill(self, candidate: Path, delivered: Path | None) -> None:
        """As `Place.fill`."""
        for name in COMPONENTS:
            self.files[f"{PIPELINE}/{name}.py"] = candidate / f"{name}.py"
        for file in delivered_weights(delivered) if delivered else ():
            self.files[f"{WEIGHTS}/{file.name}"] = file


class RemoteCell:
    """A `Cell` on whichever node is free when it runs. What is lost on the way is done again."""

    def __init__(self, executor: RayExecutor, kind: Kind, iteration: int, inputs: Path, log: Path | None) -> None:
        self.place = RemotePlace()
        self._executor, self._kind, self._iteration, self._inputs, self._log = executor, kind, iteration, inputs, log
        self._fetched = executor.folder / CELLS / secrets.token_hex(4)
        self._taken: OSError | None = None
        self._crew: Crew | None = None
        self._killed = False
        self._stage = STAGES.get(kind, "predicting")

    def run(
        self,
        command: Mapping[str, Any],
        seconds: float,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        data_bytes: int = 0,
    ) -> Outcome:
        """As `Cell.run`. Raises `ClusterError` and `SandboxError` where no node can do it."""
        job, sources = self._job(command, seconds, data_bytes)
        retries = self._executor.config.ray.retries
        for left in range(retries, -1, -1):
            try:
                return self._tried(job, sources, on_event)
            except Lost as lost:
                if self._killed:
                    return Outcome(Failure(Reason.CRASH, "it was ended from outside."))
                self._executor.note("lost", {"iteration": self._iteration, "what": self._kind, "why": str(lost)})
                self._executor.phase(self._iteration, self._stage, f"lost ({lost}); {left} more tries")
                on_event({"event": LOST})
                why = lost
        raise ClusterError(
            f"The Ray cluster lost the {self._kind} of iteration {self._iteration} {retries + 1} times; lastly: {why}.",
            "see to its nodes (ray status), then run the same command again: what is done is kept",
        )

    def _tried(self, job: Job, sources: Mapping[str, Path], on_event: Callable[[dict[str, Any]], None]) -> Outcome:
        connection = self._executor.connection
        crew = self._crew = connection.take(lambda text: self._executor.phase(self._iteration, self._stage, text))
        first = crew.posts[0]
        with ExitStack() as undo:
            undo.callback(crew.kill)
            if self._killed:
                raise Lost("it was ended")
            if self._kind == "fit" and len(crew.posts) > 1:
                outcome = self._together(crew, job, sources, on_event)
            else:
                outcome = first.carry_out(job, sources, self._log, on_event)
            if job.take and outcome.failure is None:
                self._fetched.parent.mkdir(exist_ok=True)
                try:
                    first.fetch(self._fetched, job.limit)
                except OSError as error:
                    self._taken = error
            undo.pop_all()
        connection.put_back(crew)
        return outcome

    def _together(
        self, crew: Crew, job: Job, sources: Mapping[str, Path], on_event: Callable[[dict[str, Any]], None]
    ) -> Outcome:
        """Have all nodes of a training do their parts; the first one's events, log and weights are the training's."""
        with concurrent.futures.ThreadPoolExecutor(len(crew.posts)) as pool, ExitStack() as undo:
            undo.callback(crew.kill)  # the threads end then
            list(pool.map(lambda post: post.provide(job, sources), crew.posts))
            together = Together(tuple(post.listen() for post in crew.posts), secrets.token_hex(32))
            parts = []
            for node, post in enumerate(crew.posts):
                log, told = (None, _ignored) if node else (self._log, on_event)
                parts.append(pool.submit(post.carry_out, job.part(together, node), sources, log, told))
            waiting = set(parts)
            while waiting and all(_succeeded(part) for part in parts if part not in waiting):
                _, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            if waiting:
                _, waiting = concurrent.futures.wait(waiting, REASON_SECONDS)
            if not waiting:
                undo.pop_all()
        return _of_all([part for part in parts if part not in waiting])

    def _job(self, command: Mapping[str, Any], seconds: float, data_bytes: int) -> tuple[Job, dict[str, Path]]:
        """What the node is told, and where what it will lack lies here."""
        told = {key: value for key, value in command.items() if key not in HERE}
        names = (IMAGES, LABELS) if self._kind in FITTING else (IMAGES,)
        given = {f"{INPUTS}/{name}": self._inputs / name for name in names}
        files = {**self.place.files, **given} if command["command"] != "look" else {}
        if "context" in told:
            pretrained = {}
            for number, (name, weights) in enumerate(told["context"]["pretrained"].items()):
                file = Path(weights["file"])
                there = f"{PRETRAINED}/{number}-{file.name}"
                files[there] = file
                pretrained[name] = {**weights, "file": there}
            told["context"] = {**told["context"], "pretrained": pretrained}
        hashes = {name: self._executor.hash(path) for name, path in files.items()}
        ours = self._executor.folder
        passing = tuple(hashes[name] for name in given if name in files and files[name].is_relative_to(ours))
        take, limit = (WEIGHTS_FILE, MAX_WEIGHTS) if told["command"] == "fit" else ("", 0)
        job = Job(told, hashes, passing, seconds, data_bytes, take, limit)
        return job, {hashes[name]: path for name, path in files.items()}

    def take(self, name: str, target: Path, limit: int) -> None:
        """As `Cell.take`, of the command that has ended."""
        if self._taken:
            raise self._taken
        self._fetched.replace(target)

    def kill(self) -> None:
        """End what goes on, from another thread: `run` then gives a failure."""
        self._killed = True
        if self._crew:
            self._crew.kill()

    def close(self) -> None:
        self._fetched.unlink(missing_ok=True)


Part = concurrent.futures.Future[Outcome]  # of a training on several nodes


def _ignored(event: dict[str, Any]) -> None:
    """What the other nodes of a training tell, the first one tells."""


def _succeeded(part: Part) -> bool:
    return part.exception() is None and part.result().failure is None


def _of_all(parts: Sequence[Part]) -> Outcome:
    """The outcome of a training from those of its nodes, the first one first; a loss goes before what it has caused."""
    errors = [error for part in parts if (error := part.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, Lost)):
        raise error
    failed = [outcome for part in parts if (outcome := part.result()).failure]
    return max(failed, key=_weight) if failed else parts[0].result()


def _weight(outcome: Outcome) -> int:
    """How much a failure explains: a limit that was reached, more than what code raised, more than a mere end."""
    failure = outcome.failure
    assert failure
    return 2 if failure.reason in KILLED_FOR.values() and not failure.detail else 1 if failure.detail else 0
