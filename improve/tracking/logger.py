"""Writes a run into W&B's own offline format, in the run's folder. Nothing here needs a network or a key.

Each session writes the whole run anew, from its journal: a resumed run has every iteration once, whatever became of
the earlier session's file, which then goes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.errors import ImproveError
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.report.files import RunFiles
from improve.tracking import content

FOLDER = "wandb"  # in the run's folder
FLUSH_SECONDS = 1.0  # wandb's own default is 15
CHECK_SECONDS = 60.0
MODEL_LIMIT = 4 * 1024**3  # bytes of a file of the final pipeline, as in pipeline/export.py


@dataclass(frozen=True)
class Target:
    """Where in W&B a run belongs."""

    project: str
    entity: str | None = None
    tags: tuple[str, ...] = ()


class Logger:
    """Told of the run's history as it grows, it logs each iteration once, when the iteration is complete."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.folder = folder
        self.target = target
        self._logged: set[int] = set()
        self._run: Any = None

    def update(self, history: History) -> None:
        """Log what has been completed since."""
        for iteration in history.iterations:
            if iteration.number not in self._logged and _complete(iteration, history):
                self._log(history, iteration)

    def finish(self, history: History) -> Path:
        """Log the rest and the result; gives the folder to upload.

        Raises `ImproveError` if what was written cannot be read back, `OSError` if it cannot be written.
        """
        for iteration in history.iterations:
            if iteration.number not in self._logged and iteration.verdict is not None:
                self._log(history, iteration)
        import wandb

        run = self._started(history)
        rows = content.table(history, RunFiles(self.folder))
        run.log({"iterations": wandb.Table(columns=list(content.COLUMNS), data=rows)})
        for quantity, (epochs, values, names) in content.overlaid(history).items():
            title = f"{quantity.replace('_', ' ')} of each candidate, self-reported"
            run.log({f"curves/{quantity}": wandb.plot.line_series(epochs, values, names, title, "epoch")})
        page = self.folder / "run.html"
        if page.is_file():
            run.log({"page": wandb.Html(str(page), inject=False)})
        for artifact in self._artifacts(history):
            run.log_artifact(artifact)
        run.summary.update(content.summary(history))
        file = Path(run.settings.sync_file)
        run.finish(exit_code=0 if history.is_finished and history.best is not None else 1)
        check_written(file)
        self._remove_older(file.parent)
        return file.parent

    def _log(self, history: History, iteration: Iteration) -> None:
        run = self._started(history)
        for values in (*content.curves(history, iteration), content.row(history, iteration)):
            run.log(values)
        self._logged.add(iteration.number)

    def _started(self, history: History) -> Any:
        """W&B's run; begun at the first need."""
        if self._run is None:
            import wandb

            settings = wandb.Settings(
                mode="offline",
                root_dir=str(self.folder),
                silent=True,
                console="off",
                # The journal says all that is to be known of machine, code and versions; wandb shall collect nothing.
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                host="",
                program="improve",
                save_code=False,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            )
            self._run = wandb.init(
                settings=settings,
                project=self.target.project,
                entity=self.target.entity,
                id=content.run_id(history),
                name=history.run["name"],
                group=content.group(history),
                job_type=content.job_type(history),
                tags=[*self.target.tags, *content.marks(history)],
                config=content.config(history),
            )
            self._run.define_metric("iteration")
            self._run.define_metric("*", step_metric="iteration", step_sync=False)
            self._run.define_metric(content.EPOCHS, hidden=True)
            self._run.define_metric(f"{content.REPORTED}/*", step_metric=content.EPOCHS, step_sync=False)
            self._run.define_metric("selection/accuracy", step_metric="iteration", step_sync=False, summary="last,max")
        return self._run

    def _artifacts(self, history: History) -> list[Any]:
        """The best pipeline's sources as it was judged, and the folder that a user takes away, with its weights.

        Files are read in place, when they are uploaded: nothing is copied.
        """
        import wandb

        best = history.iteration(history.best)
        if best is None or best.candidate is None or best.accuracy is None:
            return []
        facts = {"iteration": best.number, "accuracy": best.accuracy, "marks": content.marks(history)}
        name = content.run_id(history)
        sources = wandb.Artifact(f"{name}-pipeline", type="pipeline", metadata={**facts, **best.candidate["hashes"]})
        folder = self.folder / best.candidate["folder"]
        found = _add(sources, [folder / f"{component}.py" for component in best.candidate["hashes"]], folder)
        made = [sources] if found else []
        exported = self.folder / "best"
        if history.is_finished and exported.is_dir():
            model = wandb.Artifact(f"{name}-model", type="model", metadata=facts)
            _add(model, sorted(exported.rglob("*")), exported)
            made.append(model)
        return made

    def _remove_older(self, kept: Path) -> None:
        """What earlier sessions of this run wrote, all of which is in the newest."""
        for old in kept.parent.glob("offline-run-*"):
            if old != kept and not old.is_symlink():
                shutil.rmtree(old)


def _add(artifact: Any, files: Sequence[Path], folder: Path) -> int:
    """Add the regular files among these, by their names in `folder`: no link is followed. Gives how many."""
    root = folder.resolve()
    plain = [
        path
        for path in files
        if path.is_file() and path.resolve() == root / path.relative_to(folder) and path.stat().st_size <= MODEL_LIMIT
    ]
    for path in plain:
        artifact.add_file(str(path.resolve()), name=str(path.relative_to(folder)), policy="immutable")
    return len(plain)


def _complete(iteration: Iteration, history: History) -> bool:
    """Whether nothing more is to come of an iteration: the summary follows the verdict, and costs something, too."""
    later = history.iterations[-1].number > iteration.number or history.is_finished or history.best_test is not None
    return iteration.verdict is not None and (later or bool(iteration.summary))


def check_written(file: Path) -> None:
    """Read an offline run back: wandb says nothing when the disk is full. Raises `ImproveError`."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(file)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_SECONDS)
        exit_code = json.loads(done.stdout).get("exit_code")
    except (ValueError, subprocess.TimeoutExpired):
        exit_code = None
    if exit_code is None:
        raise ImproveError(f"{file.name} cannot be read back (is the disk full?)")
