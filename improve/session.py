"""One run from its configuration to its result: build the parts, resume or start, refine, test, export, report."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from improve.agents.prompts import PromptSet
from improve.agents.team import Team
from improve.agents.views import dump
from improve.config.places import cache_folder
from improve.config.schema import Config, selection_split
from improve.datasets import Dataset, check_source, prepare, require_sound
from improve.datasets.inspection_record import audit_record
from improve.display import Display, make_display, print_end_card
from improve.errors import BudgetError, ConfigError, Interrupted, LLMError, RunChanged, RunFailed
from improve.execution import machine
from improve.execution.local import LocalExecutor, hard_limit
from improve.llm.backend import LiveModels, Source
from improve.llm.replay import Replay
from improve.pipeline.architecture import informed
from improve.pipeline.export import export
from improve.pipeline.fetch_weights import fetch_weights
from improve.pipeline.weights import usable_weights
from improve.record.folders import earlier_attempts, folder_of, make_folder, past_of, set_aside
from improve.record.history import History
from improve.record.journal import JOURNAL, LOCK, Journal
from improve.record.provenance import check_resume, run_record
from improve.refinement.final import score_test
from improve.refinement.workshop import Workshop
from improve.report import write_run_page
from improve.sandbox import choose
from improve.signals import stopped_by_signals
from improve.spending.budget import Budget, BudgetUsed, Training, check_prices
from improve.spending.costs import by_iteration, by_role
from improve.strategies import strategy
from improve.tracking import Tracker, check_installed


def run(config: Config, resume: str | None = "") -> Path:
    """Carry out or resume a run; gives its folder. Raises `ImproveError` for what people can mend.

    `resume` tells a person how to go on with the run when it is stopped (default: the command that started it); None:
    the caller does.
    """
    began = time.monotonic()
    # Refuse what is wrong before anything is spent: these checks take milliseconds.
    refine = strategy(config.strategy.name)
    prompts = PromptSet(config.prompts.name, config.prompts.path)
    check_constraints(config)
    check_installed(config.tracking)
    source = source_of(config)
    check_prices(config.budget, source.unpriced())
    folder = folder_of(config)
    past = past_of(folder)
    anew = config.retry_failed and past is not None and past.finished and not past.scored
    finished = past is not None and past.finished and not anew
    if not finished:
        source.check(config.strategy.iterations)
        check_source(config.dataset, cache_folder(config.cache_dir))
    if anew:
        _set_aside(folder)
    session = partial(_session, config, refine, prompts, source, folder, resume, finished, began)
    try:
        tracked = session()
    except RunChanged:
        if finished or not config.retry_failed:
            raise
        _set_aside(folder)
        tracked = session()
    if finished:
        print(f"{folder} holds this run already, finished: seed={config.seed + 1} makes another.")
        if History.read(folder).ended_by_budget:
            print("It ended by its budget and its test images are scored, once: a larger budget does not continue it.")
    print_end_card(History.read(folder), folder, tracked=tracked)
    return folder


def _session(
    config: Config,
    refine: Any,
    prompts: PromptSet,
    source: Source,
    folder: Path,
    resume: str | None,
    finished: bool,
    began: float,
) -> str:
    """One session of a run, with the run's folder held; whatever ends it, its journal is closed.

    Returns what there is to say about its tracking, "" if nothing.
    """
    make_folder(folder)
    journal = Journal(folder)
    tracker = Tracker(config.tracking, folder)
    journal.listeners.append(tracker.record)
    try:
        display = make_display("none" if finished else config.display.mode)
        with stopped_by_signals(), _closing(display):
            _carry_out(config, refine, prompts, source, folder, journal, display, finished, began)
            tracker.finish()
    except Interrupted:
        _page(folder)
        if resume is not None:
            again = resume or resume_command(folder)
            print(f"\nstopped; what is done is kept. Resume with:\n  {again}", file=sys.stderr)
        raise
    except (BudgetError, LLMError):
        _page(folder)
        raise
    finally:
        tracker.release()
        _remove_if_unused(folder)
        journal.close()
    return tracker.said


def _set_aside(folder: Path) -> None:
    """Keep what a run's folder holds as an earlier attempt. Raises `InUse` if another process works on it."""
    journal = Journal(folder)
    try:
        kept = set_aside(folder)
    finally:
        journal.close()
    print(f"started again; the earlier attempt is kept in {kept}")


def _carry_out(
    config: Config,
    refine: Any,
    prompts: PromptSet,
    source: Source,
    folder: Path,
    journal: Journal,
    display: Display,
    finished: bool,
    began: float,
) -> None:
    sandbox = choose(config.sandbox.mode)
    cache, progress = cache_folder(config.cache_dir), partial(display.phase, 0, "preparing")
    dataset = prepare(config.dataset, cache, display.note, progress, selection_split(config))
    require_sound(dataset.audit, config.dataset.accept)
    if not finished:
        fetch_weights(config.executor, display.note)
    weights = usable_weights(config.executor, cache)
    dataset = informed(dataset, config, weights)
    executor = LocalExecutor(config.executor, sandbox, dataset, weights, folder, config.seed, display.phase)
    journal.listeners.append(display.record)
    try:
        record = run_record(config, prompts, source, dataset, sandbox, folder.name)
        record["notes"] += earlier_attempts(folder)
        check_resume(journal, record, folder, other_code=config.retry_failed and not finished)
        journal.once("run", "run", lambda: record)
        journal.once("audit-data", "audit_data", lambda: audit_record(dataset, config.dataset, folder))
        budget = Budget(config.budget, journal, _training(config, dataset), began)
        fixed = fixed_variables(config, executor, dataset)
        team = Team(source, prompts, journal, folder, fixed, display.phase, budget)
        workshop = Workshop(config, dataset, team, executor, journal, folder, budget)
        if not finished and not journal.resumed:
            executor.expect(("fit", 0))
        stopped = _refine(refine, workshop)
        score_test(workshop)
        _export(workshop, executor, dataset, folder, source.author)
        journal.once("finished", "finished", lambda: _totals(workshop, folder, stopped))
    finally:
        executor.close()
    _page(folder)
    if workshop.incumbent is None:
        why = f"; {workshop.stopped}" if workshop.stopped else "."
        raise RunFailed(
            f"none of {len(workshop.steps)} pipelines could be scored{why}",
            f"see what failed in {folder / 'run.html'}; a stronger model or a longer executor.fit_seconds may help; "
            "retry_failed=true keeps this attempt and starts another",
        )


def check_constraints(config: Config) -> None:
    """Raises `ConfigError` for a constraint that whoever answers cannot keep to."""
    asked = (config.llm, *config.role_llms.values())
    if config.dataset.constraints.model and any(llm.model.startswith("offline/") for llm in asked):
        raise ConfigError(
            "dataset.constraints.model is for language models: the rule-based expert knows its own networks alone.",
            "choose one, for instance llm=gpt-4o, or leave the constraint out: dataset.constraints.model=null",
        )


def resume_command(folder: Path) -> str:
    """The command that goes on with a run: the one that started it, with the folder named."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("run_dir=")]
    return shlex.join(["python", "-m", "improve.run", *arguments, f"run_dir={folder}"])


def source_of(config: Config) -> Source:
    """Whom the roles ask. Raises `LLMError` if a cassette cannot be read."""
    if config.llm.cassette:
        return Replay(config.llm.cassette)
    return LiveModels(config)


def _training(config: Config, dataset: Dataset) -> Training:
    """What the budget must know of trainings."""
    counts = dataset.counts
    gpus = int(machine.uses_gpu(config.executor))  # a training holds one
    return Training(hard_limit(config.executor.fit_seconds), gpus, counts["test"] / counts["selection"])


def _refine(refine: Callable[[Workshop], None], workshop: Workshop) -> dict[str, str]:
    """The loop, to its end or to that of a budget: why it ended, and the budget's key."""
    try:
        refine(workshop)
    except BudgetUsed as stop:
        return {"reason": stop.reason, "budget": stop.key}
    return {"reason": workshop.stopped or "all iterations done", "budget": ""}


def fixed_variables(config: Config, executor: LocalExecutor, dataset: Dataset) -> dict[str, Any]:
    """What every prompt of a run is given."""
    return {
        "card": dataset.card(),
        "context": _shown_context(executor, dataset),
        "all_components": config.strategy.name == "global",
    }


def _shown_context(executor: LocalExecutor, dataset: Dataset) -> str:
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
            **({"required_model": dataset.required_model} if dataset.required_model else {}),
            "images_per_class": {"min": min(counts), "max": max(counts)},
            "pretrained": sorted(context["pretrained"]),
            "libraries": machine.library_versions(),
        }
    )


def _export(workshop: Workshop, executor: LocalExecutor, dataset: Dataset, folder: Path, author: str) -> None:
    best = workshop.incumbent
    if best is None:
        return
    export(
        folder / "best",
        best.pipeline,
        executor.work_folder(best.iteration),
        executor.context(f"{best.iteration} fit"),
        dataset.train_folder,
        machine.library_versions(),
        author,
    )


def _totals(workshop: Workshop, folder: Path, stopped: dict[str, str]) -> dict[str, Any]:
    history = History.read(folder)
    best = workshop.incumbent.iteration if workshop.incumbent else None
    return {
        **stopped,
        "best": best,
        "tokens": history.tokens,
        "usd": history.usd,
        "unpriced": list(history.costs.unpriced),
        "roles": {role: costs.record() for role, costs in by_role(history.calls).items()},
        "iterations": {str(number): costs.record() for number, costs in by_iteration(history.calls).items()},
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
