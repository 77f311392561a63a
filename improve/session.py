"""One run from its configuration to its result: build the parts, resume or start, refine, test, export, report."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from improve.agents.team import Team
from improve.agents.views import dump
from improve.cache import cache_folder
from improve.config import Config, run_name
from improve.datasets import Dataset, check_source, prepare
from improve.display import Display, make_display, print_end_card
from improve.errors import ConfigError, Interrupted, LLMError, RunFailed
from improve.execution import machine
from improve.execution.local import LocalExecutor
from improve.history import History
from improve.journal import JOURNAL, LOCK, Journal, read
from improve.llm.clients import Clients
from improve.pipeline.export import export
from improve.pipeline.weights import usable_weights
from improve.prompts import PromptSet
from improve.provenance import check_resume, run_record
from improve.report import write_run_page
from improve.sandbox import choose
from improve.strategies import strategy
from improve.strategies.final import score_test
from improve.strategies.workshop import Workshop


def run(config: Config) -> Path:
    """Carry out or resume a run; gives its folder. Raises `ImproveError` for what people can mend."""
    # Refuse what is wrong before anything is spent: these checks take milliseconds.
    refine = strategy(config.strategy.name)
    prompts = PromptSet(config.prompts.name, config.prompts.path)
    clients = Clients(config)
    folder = _folder(config)
    finished = _is_finished(folder)
    if not finished:
        clients.check()
        check_source(config.dataset)
    _make(folder)
    journal = Journal(folder)
    try:
        display = make_display("none" if finished else config.display.mode)
        with _stopped_by_signals(), _closing(display):
            _carry_out(config, refine, prompts, clients, folder, journal, display, finished)
    except Interrupted:
        _page(folder)
        print(f"\nstopped; what is done is kept. Resume with:\n  {resume_command(folder)}", file=sys.stderr)
        raise
    except LLMError:
        _page(folder)
        raise
    finally:
        journal.close()
        _remove_if_unused(folder)
    if finished:
        print(f"{folder} holds this run already, finished: seed={config.seed + 1} makes another.")
    print_end_card(History.read(folder), folder)
    return folder


def _carry_out(
    config: Config,
    refine: Any,
    prompts: PromptSet,
    clients: Clients,
    folder: Path,
    journal: Journal,
    display: Display,
    finished: bool,
) -> None:
    sandbox = choose(config.sandbox.mode)
    dataset = prepare(config.dataset, cache_folder(config.cache_dir), display.note)
    weights = usable_weights(config.executor, cache_folder(config.cache_dir))
    executor = LocalExecutor(config.executor, sandbox, dataset, weights, folder, config.seed, display.phase)
    journal.listeners.append(display.record)
    try:
        record = run_record(config, prompts, clients, dataset, sandbox, folder.name)
        check_resume(journal, record, folder)
        journal.once("run", "run", lambda: record)
        fixed = {"card": dataset.card(), "context": shown_context(executor, dataset)}
        team = Team(clients, prompts, journal, folder, fixed, display.phase)
        workshop = Workshop(config, dataset, team, executor, journal, folder)
        if not finished and not journal.resumed:
            executor.expect(("fit", 0))
        refine(workshop)
        score_test(workshop)
        _export(workshop, executor, dataset, folder, clients)
        journal.once("finished", "finished", lambda: _totals(workshop, folder))
    finally:
        executor.close()
    _page(folder)
    if workshop.incumbent is None:
        why = f"; {workshop.stopped}" if workshop.stopped else "."
        raise RunFailed(
            f"none of {len(workshop.steps)} pipelines could be scored{why}",
            f"see what failed in {folder / 'run.html'}; a stronger model or a longer executor.fit_seconds may help",
        )


def _folder(config: Config) -> Path:
    folder = Path(config.run_dir) if config.run_dir else Path(config.outputs) / run_name(config)
    return folder.expanduser().absolute()


def _is_finished(folder: Path) -> bool:
    path = folder / JOURNAL
    return path.is_file() and any(record.kind == "finished" for record in read(path)[0])


def _make(folder: Path) -> None:
    """Make the run's folder if it is missing. Raises `ConfigError` if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}.", "choose outputs=DIR or run_dir=DIR") from None
    if not writable:
        raise ConfigError(f"{folder} cannot be written.", "choose outputs=DIR or run_dir=DIR")


def resume_command(folder: Path) -> str:
    """The command that goes on with a run: the one that started it, with the folder named."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("run_dir=")]
    return shlex.join(["python", "-m", "improve.run", *arguments, f"run_dir={folder}"])


def shown_context(executor: LocalExecutor, dataset: Dataset) -> str:
    """The context block of every prompt: what an engineer can use, less what only the template reads."""
    context = executor.context()
    counts = context["images_per_class"]
    held_out = 0.1  # as in template/context.py: validation_fraction
    return dump(
        {
            "hardware": context["hardware"],
            "threads": context["threads"],
            "fit_seconds": context["fit_seconds"],
            "train_images": round(context["train_images"] * (1 - held_out)),
            "image": {"height": context["height"], "width": context["width"], "channels": context["channels"]},
            "num_classes": len(context["classes"]),
            "images_per_class": {"min": min(counts), "max": max(counts)},
            "pretrained": sorted(context["pretrained"]),
            "libraries": machine.library_versions(),
        }
    )


def _export(workshop: Workshop, executor: LocalExecutor, dataset: Dataset, folder: Path, clients: Clients) -> None:
    best = workshop.incumbent
    if best is None:
        return
    author = "a rule-based expert" if clients.offline else f"the language model {clients.models}"
    export(
        folder / "best",
        best.pipeline,
        executor.work_folder(best.iteration),
        executor.context(f"{best.iteration} fit"),
        dataset.train_folder,
        machine.library_versions(),
        author,
    )


def _totals(workshop: Workshop, folder: Path) -> dict[str, Any]:
    history = History.read(folder)
    best = workshop.incumbent.iteration if workshop.incumbent else None
    return {
        "reason": workshop.stopped or "all iterations done",
        "best": best,
        "tokens": history.tokens,
        "usd": history.usd,
        "total_seconds": history.seconds,
    }


def _remove_if_unused(folder: Path) -> None:
    """A run that was refused before its first record leaves no folder behind."""
    if (folder / JOURNAL).stat().st_size == 0 and {path.name for path in folder.iterdir()} <= {JOURNAL, LOCK}:
        shutil.rmtree(folder)


def _page(folder: Path) -> None:
    if (folder / JOURNAL).exists() and (folder / JOURNAL).stat().st_size:
        write_run_page(folder)


@contextmanager
def _closing(display: Display) -> Iterator[None]:
    try:
        yield
    finally:
        display.close()


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM unwind the run: its sandboxes end and its journal closes. A second one ends it at once."""

    def stop(number: int, frame: object) -> NoReturn:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
