"""A process with the naive executor of `attacks/pipelines/_naive.py`, and what it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from improve.datasets import Dataset
from improve.domain import COMPONENTS, Pipeline
from improve.execution.cell import TEMPLATE, worker_environment
from improve.sandbox import remove
from tests.support.bench import ATTACKS

PROGRAM = ATTACKS / "_naive.py"


class Naive:
    """Carries out one pipeline after the other, with labels beside the images, shuffled as people shuffle."""

    def __init__(self, folder: Path, task: Dataset, context: dict[str, Any]) -> None:
        self._folder, self._context, self._task = folder, context, task
        images = np.load(task.inputs_folder("selection") / "images.npy")
        labels = task.labels("selection")
        ordered = np.argsort(labels, kind="stable")[np.random.default_rng(0).permutation(len(labels))]
        (folder / "selection").mkdir()
        np.save(folder / "selection" / "images.npy", images[ordered])
        np.save(folder / "selection" / "labels.npy", labels[ordered])
        env = {
            **os.environ,
            **worker_environment(),
            "PYTHONPATH": str(TEMPLATE),
            "HOME": str(folder),
            "TMPDIR": str(folder),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-B", str(PROGRAM)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def carry_out(self, name: str, pipeline: Pipeline, seconds: float = 60.0, take: bool = True) -> dict[str, Any]:
        home = self._folder / name
        candidate = home / "candidates" / "000"
        candidate.mkdir(parents=True, exist_ok=True)
        for component in COMPONENTS:
            (candidate / f"{component}.py").write_text(pipeline.source(component))
        request = {
            "pipeline": str(candidate),
            "work": str(home / "work" / "000"),
            "home": str(home),
            "train": str(self._task.train_folder),
            "selection": str(self._folder / "selection"),
            "context": self._context,
            "seconds": seconds,
            "take": take,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        Path("/dev/shm/second.pt").unlink(missing_ok=True)  # of hides_a_second_file
        remove(self._folder)
