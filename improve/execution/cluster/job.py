"""What a node is told: one command for one cell. No path of this machine, and no label that is scored on, is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from improve.execution.cluster.network import Together

PIPELINE, WEIGHTS, INPUTS, PRETRAINED = "pipeline", "weights", "inputs", "pretrained"  # folders of a cell's place
EVENT, LOG, DATA, END = b"e", b"l", b"d", b"x"  # first byte of what a station sends back


@dataclass(frozen=True)
class Job:
    """A command (see `template/worker.py`) without its folders, and the files that its cell sees, by SHA-256."""

    command: Mapping[str, Any]
    files: Mapping[str, str]  # "pipeline/data.py", "inputs/images.npy", … → hash
    passing: tuple[str, ...]  # hashes of files that do not stay on the node
    seconds: float
    data_bytes: int
    take: str = ""  # name of the file that the command leaves; "": none
    limit: int = 0  # of its bytes
    together: Together | None = None

    def part(self, together: Together, node: int) -> Job:
        """What one of several nodes is told. What it leaves is taken from the first."""
        own = replace(together, node=node)
        job = replace(self, command={**self.command, "node": own.command()}, together=own)
        return replace(job, take="", limit=0) if node else job

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Job:
        values = json.loads(text)
        together = values["together"] and Together.read(values["together"])
        return cls(**{**values, "passing": tuple(values["passing"]), "together": together})

    def addressed(self, place: Path) -> dict[str, Any]:
        """The command for a cell whose folder is `place`."""
        command = dict(self.command)
        if command["command"] == "look":
            return command
        work = WEIGHTS if command["command"] == "predict" else "work"
        folders = {"pipeline": PIPELINE, "work": work, "data": INPUTS}
        context = dict(command["context"])
        context["pretrained"] = {n: {**w, "file": str(place / w["file"])} for n, w in context["pretrained"].items()}
        return {**command, **{key: str(place / name) for key, name in folders.items()}, "context": context}
