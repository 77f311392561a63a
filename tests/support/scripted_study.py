"""Studies of whole runs, small but real: a scripted model that counts what it is asked, and trainings of seconds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from improve.record.journal import JOURNAL, LOCK, Record, read
from tests.support import components
from tests.support.scripted_llm import ScriptedServer, completion, role_of, serving

EPOCHS = 30  # about as many as fit into the time limit, so that a training lasts


def _reply(system: str, user: str) -> str:
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=EPOCHS)
    if role == "Training Engineer":
        return components.fenced(training=components.training(epochs=EPOCHS, rate=3e-3))
    if role.startswith("Summar"):
        return "It was trained."
    feedback = "Train at a learning rate of 0.003 instead of 0.001."
    return json.dumps({"component": "training", "diagnosis": "Its loss still falls.", "feedback": feedback})


class ScriptedStudy:
    """Runs of one iteration with one seed each, started by `hydra/launcher=…`."""

    def __init__(self, server: ScriptedServer, folder: Path, cache: Path, seeds: int = 4) -> None:
        self.server, self.outputs, self.cache, self.seeds = server, folder / "outputs", cache, seeds

    def start(self, *arguments: str, seconds: int = 3) -> subprocess.Popen[str]:
        """The command, which is the same each time."""
        model = ["llm=local", "llm.model=scripted", f"llm.api_base={self.server.base}"]
        small = ["dataset=digits", "strategy.iterations=1", f"executor.fit_seconds={seconds}", "executor.threads=1"]
        seeds = f"seed=range({self.seeds})"
        plain = ["finish=single", "acceptance=paired", "study=cluster", f"outputs={self.outputs}"]
        self._last = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "improve.run",
                "-m",
                *model,
                *small,
                *plain,
                seeds,
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "IMPROVE_CACHE": str(self.cache)},
        )
        return self._last

    def done(self, *arguments: str, within: float = 500) -> tuple[int, str]:
        """Exit code and output of the command, once it has ended."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=within)
        return process.returncode, output

    @property
    def runs(self) -> list[Path]:
        return sorted((self.outputs / "cluster").glob("*-seed*"))

    def records(self, run: Path) -> list[Record]:
        path = run / JOURNAL
        return read(path).records if path.is_file() else []

    def in_training(self, within: float = 400) -> tuple[Path, int]:
        """A run in the middle of its first training, and its process."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            assert self._last.poll() is None, self._last.communicate()[0]
            for run in self.runs:
                kinds = [record.kind for record in self.records(run)]
                holder = re.match(r"process (\d+) ", (run / LOCK).read_text()) if (run / LOCK).is_file() else None
                if "check" in kinds and "training" not in kinds and holder:
                    return run, int(holder[1])
            time.sleep(0.05)
        raise AssertionError("no run came to a training")

    def check_all_finished(self) -> None:
        """Each run is whole, and the model was asked for nothing twice, be it for runs that were broken off."""
        assert len(self.runs) == self.seeds
        calls = 0
        for run in self.runs:
            records = self.records(run)
            assert records[-1].kind == "finished", (run, records[-1])
            calls += sum(record.kind == "llm" for record in records)
        assert calls == len(self.server.asked)


@contextmanager
def scripted_study(folder: Path, cache: Path, seeds: int = 4) -> Iterator[ScriptedStudy]:
    usage = {"prompt_tokens": 6000, "completion_tokens": 500, "total_tokens": 6500}
    with serving(lambda asked: completion(_reply(*asked.prompt), usage=usage)) as server:
        yield ScriptedStudy(server, folder, cache, seeds)
