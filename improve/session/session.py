"""One run from its configuration to its result: prepare, open or resume, refine, test, export, report."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from improve.agents.brief import Brief, shown_context
from improve.agents.team import Team
from improve.config.decisive import selection_split
from improve.config.invocation import same_again
from improve.config.overrides import as_typed
from improve.config.schema import Config
from improve.datasets import Dataset, prepare, require_sound
from improve.datasets.inspection_record import audit_record
from improve.display import Display, make_display, print_end_card
from improve.errors import BudgetError, Interrupted, LLMError, RunChanged, RunFailed
from improve.execution import machine
from improve.execution.fit import hard_limit
from improve.execution.local import LocalExecutor
from improve.execution.replicates import fit_phase
from improve.judging.rules import configured
from improve.pipeline.architecture import informed, required_architecture
from improve.pipeline.export import export, used_pretrained
from improve.pipeline.supply import Supply
from improve.record.folders import earlier_attempts, make_folder, past_of, set_aside
from improve.record.history import History
from improve.record.journal import JOURNAL, LOCK, Journal
from improve.record.provenance import check_resume
from improve.record.space import full_disk
from improve.refinement.ending import conclude
from improve.refinement.final import test_meanwhile
from improve.refinement.finish import members
from improve.refinement.loop import refine
from improve.refinement.side_by_side import goes_side_by_side
from improve.refinement.trials import Trials
from improve.refinement.workshop import Workshop
from improve.report import write_run_page
from improve.session.delivery import compare_delivered
from improve.session.hidden import look_from_inside, require_hidden, secrets_of
from improve.session.model_card import model_card
from improve.session.opening import Order, run_record
from improve.session.workplace import Workplace
from improve.signals import stopped_by_signals
from improve.spending.budget import Budget, Training
from improve.spending.costs import by_iteration, by_role
from improve.strategies import Strategy
from improve.tracking import Tracker


def run(config: Config, resume: str | None = "") -> Path:
    """Carry out or resume a run; gives its folder. Raises `ImproveError` for what people can mend.

    `resume` tells a person how to go on with the run when it is stopped (default: the command that started it); None:
    the caller does.
    """
    began = time.monotonic()
    order = Order.of(config)
    folder = order.folder
    past = past_of(folder)
    anew = config.retry_failed and past is not None and past.finished and not past.scored
    finished = past is not None and past.finished and not anew
    if not finished:
        order.check_surroundings(begun=past is not None and not anew)
    if anew:
        _set_aside(folder)
    session = Session(order, began, finished, resume)
    try:
        tracked = session.carry_out()
    except RunChanged:
        if finished or not config.retry_failed:
            raise
        _set_aside(folder)
        tracked = session.carry_out()
    except OSError as error:
        full = full_disk(error, (folder, order.cache))
        if full is None:
            raise
        raise full from error
    except LLMError:
        if past_of(folder) is not None and History.read(folder).outage:
            print_end_card(History.read(folder), folder)
        raise
    if finished:
        print(f"{folder} holds this run already, finished: seed={config.seed + 1} makes another.")
        if History.read(folder).ended_by_budget:
            print("It ended by its budget and its test images are scored, once: a larger budget does not continue it.")
    if not config.display.named:
        print_end_card(History.read(folder), folder, tracked=tracked)
    return folder


class Session:
    """One session of a run: from its folder, held for as long as it lasts, to its page.

    `began`: by the monotonic clock. `finished`: all is on record, so nothing is shown while it is gone through.
    `resume` as in `run`.
    """

    def __init__(self, order: Order, began: float, finished: bool = False, resume: str | None = "") -> None:
        self.order, self.config, self.folder = order, order.config, order.folder
        self.began, self.finished, self.resume = began, finished, resume
        self.secrets = secrets_of(self.config, order.cache, self.folder)

    def carry_out(self) -> str:
        """All steps; whatever ends them, the journal is closed. Gives what there is to say about the tracking."""
        make_folder(self.folder)
        journal = Journal(self.folder)
        tracker = Tracker(self.config.tracking, self.folder)
        journal.listeners.append(tracker.record)
        try:
            shown = self.config.display
            name = self.folder.name if shown.named else ""
            display = make_display("none" if self.finished else shown.mode, name=name)
            with stopped_by_signals(), _followed(tracker), _closing(display):
                self._steps(journal, display)
        except Interrupted:
            self._report()
            if self.resume is not None:
                again = self.resume or resume_command(self.folder)
                print(f"\nstopped; what is done is kept. Resume with:\n  {again}", file=sys.stderr)
            raise
        except (BudgetError, LLMError):
            self._report()
            raise
        finally:
            unused = _empty_if_unused(self.folder)
            journal.close()
            if unused:
                with suppress(OSError):  # another process has begun there
                    self.folder.rmdir()
        return tracker.said

    def _steps(self, journal: Journal, display: Display) -> None:
        executor, supply = self._prepare(journal, display)
        journal.listeners.append(display.record)
        try:
            self._open(journal, executor, supply)
            workshop = self._workshop(journal, executor, supply, display)
            if not self.finished:
                look_from_inside(executor, self.secrets)
            if not self.finished and not journal.resumed:
                executor.expect(("smoke", 0))
            try:
                ended = refine(workshop)
            except LLMError as error:
                self._leave(workshop, error)
            conclude(workshop, self.config.finish)
            self._export(workshop)
            self._compare_delivered(workshop, journal)
            journal.once("finished", "finished", lambda: self._totals(workshop, ended))
        finally:
            executor.close()
        self._report()
        self._require_score(workshop)

    def _leave(self, workshop: Workshop, error: LLMError) -> NoReturn:
        """A model is out of reach: what is reached is tested and exported, and the same command goes on later."""
        best = workshop.incumbent
        if best is None:
            raise error
        test_meanwhile(workshop, error.what)
        self._export(workshop)
        where = (
            "the first pipeline"
            if best.iteration == workshop.first
            else f"that of {workshop.numbering.at(best.iteration)}"
        )
        said = f"The best pipeline so far, {where}, is tested and exported: {self.folder / 'best'}"
        raise LLMError(f"{error.what}\n  {said}", error.fix) from error

    def _prepare(self, journal: Journal, display: Display) -> tuple[LocalExecutor, Supply]:
        """The images, what can be used, and where code runs."""
        config = self.config
        starting = partial(display.phase, 0, "starting")
        past = journal.peek("run")
        before = past.data if past else None
        place = Workplace.find(config, before, not self.finished, starting)  # imports beside what follows
        with ExitStack() as undo:
            undo.callback(place.close)
            require_hidden(place.sandbox, self.secrets)
            progress = partial(display.phase, 0, "preparing")
            limit = machine.time_limit(config.executor)
            dataset = prepare(config.dataset, self.order.cache, display.note, progress, selection_split(config), limit)
            require_sound(dataset.audit, config.dataset.accept)
            required = required_architecture(config.dataset.constraints.model)
            supply = Supply.of(config, self.order.cache, before, required, display.note, not self.finished)
            weights = supply.at_hand
            dataset = informed(dataset, config.dataset, weights)
            starting()  # the imports may take longer than the images
            undo.pop_all()
        return place.executor(dataset, weights, self.folder, display.phase, journal.note), supply

    def _open(self, journal: Journal, executor: LocalExecutor, supply: Supply) -> None:
        """The first records, or those of an earlier session if it had the same settings, data and code."""
        dataset = executor.dataset
        record = run_record(self.order, dataset, executor.sandbox, supply, executor.context()["hardware"])
        record["notes"] += earlier_attempts(self.folder)
        check_resume(journal, record, self.folder, other_code=self.config.retry_failed and not self.finished)
        journal.once("run", "run", lambda: record)
        journal.once("audit-data", "audit_data", lambda: audit_record(dataset, self.config.dataset, self.folder))

    def _workshop(self, journal: Journal, executor: LocalExecutor, supply: Supply, display: Display) -> Workshop:
        """The team, its budget, and what carries out and records its candidates."""
        order, dataset = self.order, executor.dataset
        budget = Budget(self.config.budget, journal, self._training(executor), self.began)
        brief = brief_of(dataset, executor, order.strategy, supply.offered())
        brief = dataclasses.replace(brief, candidates=self.config.strategy.candidates)
        team = Team(order.backend, order.prompts, journal, self.folder, brief, display.phase, budget)
        strategy = self.config.strategy
        beside = goes_side_by_side(self.config.executor, strategy.candidates)
        trials = Trials(dataset, executor, journal, self.folder, budget, supply, beside)
        rule = configured(self.config.acceptance, strategy.iterations, strategy.candidates)
        shown = self.config.protocol != "paper"
        return Workshop(order.strategy, strategy, rule, team, trials, shown)

    def _training(self, executor: LocalExecutor) -> Training:
        """What the budget must know of trainings."""
        counts, config = executor.dataset.counts, executor.config
        gpus = config.devices * config.num_nodes if machine.uses_gpu(config) else 0
        share = counts["test"] / counts["selection"]
        return Training(hard_limit(config.fit_seconds, executor.slots), gpus, share, executor.slots)

    def _export(self, workshop: Workshop) -> None:
        best, executor = workshop.incumbent, workshop.trials.executor
        if best is None:
            return
        delivered = members(workshop, self.config.finish)
        context, author = executor.context(fit_phase(best.iteration)), self.order.backend.author
        used = used_pretrained(context, best.pipeline)
        export(
            self.folder / "best",
            best.pipeline,
            [executor.work_folder(best.iteration, replicate) for replicate in delivered],
            context,
            executor.dataset.train_folder,
            machine.library_versions(),
            model_card(History.read(self.folder), context, used, author, len(delivered)),
        )

    def _compare_delivered(self, workshop: Workshop, journal: Journal) -> None:
        """Show that what is delivered is what was scored. Runs of earlier versions have no such record."""
        best, executor = workshop.incumbent, workshop.trials.executor
        if best is not None and (not self.finished or journal.upcoming == "delivered"):
            delivered = members(workshop, self.config.finish)
            compare = partial(compare_delivered, executor, self.folder / "best", best.iteration, delivered)
            journal.once("delivered", "delivered", compare)

    def _totals(self, workshop: Workshop, ended: dict[str, str]) -> dict[str, Any]:
        history = History.read(self.folder)
        return {
            **ended,
            "best": workshop.incumbent.iteration if workshop.incumbent else None,
            "tokens": history.tokens,
            "usd": history.usd,
            "unpriced": list(history.costs.unpriced),
            "roles": {role: costs.record() for role, costs in by_role(history.asked).items()},
            "iterations": {str(number): costs.record() for number, costs in by_iteration(history.asked).items()},
            "total_seconds": history.seconds,
        }

    def _report(self) -> None:
        journal = self.folder / JOURNAL
        if journal.exists() and journal.stat().st_size:
            write_run_page(self.folder)

    def _require_score(self, workshop: Workshop) -> None:
        if workshop.incumbent is None:
            why = f"; {workshop.stopped}" if workshop.stopped else "."
            raise RunFailed(
                f"none of {len(workshop.steps)} pipelines could be scored{why}",
                f"see what failed in {self.folder / 'run.html'}; a stronger model or a longer executor.fit_seconds may "
                "help; retry_failed=true keeps this attempt and starts another",
            )


def brief_of(
    dataset: Dataset, executor: LocalExecutor, strategy: Strategy, offered: Mapping[str, str] | None = None
) -> Brief:
    """What every prompt of a run is given. `offered`: networks whose weights can be fetched."""
    context = shown_context(executor.context(), machine.library_versions(), offered)
    return Brief(dataset.card(), context, strategy.choices)


def _set_aside(folder: Path) -> None:
    """Keep what a run's folder holds as an earlier attempt. Raises `InUse` if another process works on it."""
    journal = Journal(folder)
    try:
        kept = set_aside(folder)
    finally:
        journal.close()
    print(f"started again; the earlier attempt is kept in {kept}")


def resume_command(folder: Path) -> str:
    """The command that goes on with a run: the one that started it, with the folder named."""
    return same_again(as_typed("run_dir", str(folder)))


def _empty_if_unused(folder: Path) -> bool:
    """A run that was refused before its first record leaves nothing behind. Whether that is so.

    The folder itself goes once the journal is closed: on NFS a file that is open keeps its place in it.
    """
    unused = (folder / JOURNAL).stat().st_size == 0 and {path.name for path in folder.iterdir()} <= {JOURNAL, LOCK}
    for name in (JOURNAL, LOCK) if unused else ():
        (folder / name).unlink(missing_ok=True)
    return unused


@contextmanager
def _closing(display: Display) -> Iterator[None]:
    try:
        yield
    finally:
        display.close()


@contextmanager
def _followed(tracker: Tracker) -> Iterator[None]:
    """Whatever ends the run, its tracking is told so, and what became of it is known; of a stopped run it is said."""
    ended = False
    try:
        yield
        ended = True
    finally:
        tracker.finish(stopped=not ended)
        if tracker.said and not ended:
            print(f"W&B: {tracker.said}", file=sys.stderr)
