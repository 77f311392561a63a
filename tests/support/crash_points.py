"""Runs that are killed at a record of their own, and what a whole one leaves."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from improve.record.journal import JOURNAL, read
from tests.support import components
from tests.support.paths import ROOT
from tests.support.scripted_llm import ScriptedServer, role_of, scripted_llm
from tests.test_resume import steps

ITERATIONS = 3
PROGRAM = (sys.executable, "-m", "tests.support.killed_run")
# A long limit: prompts tell which share of it a training used, which is then always little.
SMALL = (
    "dataset=digits", "dataset.train=200", "dataset.selection=100", "dataset.test=100", "executor.fit_seconds=600",
    "llm=local", f"strategy.iterations={ITERATIONS}", "strategy.repairs=1", "display=none",
)  # fmt: skip


def reply(system: str, user: str) -> str:
    """A pipeline, a better one, a worse one, and one that fails its check and its repairs."""
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=8, epochs=1)
    if role == "Performance Analyst":
        step = user.count("- {iteration:")
        return json.dumps({"component": "training", "diagnosis": "seen", "feedback": f"[step-{step}] do it"})
    if role == "Training Engineer":
        if "[step-1]" in user:
            return components.fenced(training=components.training(epochs=6, rate=3e-3))
        if "[step-2]" in user:
            return components.fenced(training=components.training(epochs=1, rate=1e-7))
        return components.fenced(training="import nope\n")
    return "It did what was asked."


class Runs:
    """Starts runs in a program that has imported everything, below one folder."""

    def __init__(self, program: Sequence[str], folder: Path, server: ScriptedServer) -> None:
        self.folder, self.server = folder, server
        self.settings: tuple[str, ...] = ()  # beside the usual ones
        self.process = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def carry_out(self, name: str, where: str = "after", number: int = 0) -> bool:
        """Whether the run came to its end before its new record `number`; it was killed there otherwise."""
        said = self.folder / f"{name}.txt"
        arguments = [*SMALL, *self.settings, f"llm.api_base={self.server.base}", f"run_dir={self.folder / name}"]
        arguments.append(f"cache_dir={self.folder / 'cache'}")
        asked = {"where": where, "number": number, "arguments": arguments, "said": str(said)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        assert code in (0, -signal.SIGKILL), said.read_text()
        return code == 0

    def whole(self) -> list[tuple[str, str, object]]:
        """The steps of a run that nobody kills."""
        assert self.carry_out("whole")
        expected = steps(self.folder / "whole")
        assert [data["verdict"] for _, kind, data in expected if kind == "verdict"] == [
            "accepted", "accepted", "rejected", "failed",
        ]  # fmt: skip
        return expected

    def equals_whole(self, name: str) -> None:
        assert steps(self.folder / name) == steps(self.folder / "whole")
        assert weights(self.folder / name) == weights(self.folder / "whole") != {}

    def torn(self, expected: int) -> None:
        """Torn within each record: the torn one is written by the next start, which then tears the one after it."""
        journal = self.folder / "within" / JOURNAL
        for number in range(expected):
            assert not self.carry_out("within", "within", min(number, 1) + 1)
            assert len(read(journal).records) == number
        assert self.carry_out("within")
        self.equals_whole("within")


@contextmanager
def runs(program: Sequence[str], folder: Path) -> Iterator[Runs]:
    with scripted_llm(reply) as server:
        made = Runs(program, folder, server)
        try:
            yield made
        finally:
            made.process.kill()
            made.process.communicate()


def weights(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "best").glob("weights.*")}
