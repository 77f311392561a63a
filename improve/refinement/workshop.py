"""What all strategies share: the team, the executor, the incumbent, and the way from a candidate to its verdict.

Every step that asks a model or runs code goes through `Journal.once`, so that a resumed run finds it done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from improve.agents import views
from improve.agents.parsing import Proposal
from improve.agents.team import Assignment, NoUsableReply, Team
from improve.config.schema import StrategyConfig
from improve.domain import COMPONENTS, Component, Failure, Pipeline, Reason
from improve.execution.length import Length
from improve.execution.local import Fit
from improve.execution.warm import Key
from improve.judging.acceptance import Further, Judgement, Rule, without_comparison
from improve.judging.claims import Change
from improve.judging.scoring import confusions
from improve.judging.standings import Entry, Standings
from improve.refinement import samples
from improve.refinement.attempt import Attempt, Incumbent
from improve.refinement.trials import Again, Parent, Trials
from improve.strategies import Candidate, Strategy
from improve.strategies.strategy import ALL

MAX_DIFF = 6000  # characters of a diff that the summarizer is shown
MAX_REFUSALS = 3  # iterations in a row that the language model declines, after which a run ends


class Workshop:
    """One run's state. `steps` is the history that the analyst reads; all its numbers come from the journal."""

    def __init__(
        self,
        strategy: Strategy,
        settings: StrategyConfig,
        rule: Rule,
        team: Team,
        trials: Trials,
        shows_mistakes: bool = True,  # to the analyst; not where the selection images are the test images
    ) -> None:
        self.strategy, self.settings, self.shows_mistakes = strategy, settings, shows_mistakes
        self.team, self.trials = team, trials
        self.standings = Standings(rule)
        self.incumbent: Incumbent | None = None
        self.first: int | None = None  # the iteration of the first pipeline that had a score
        self.steps: list[views.Step] = []
        self.plan = ""
        self.stopped = ""  # why the loop should end before its time, in words; "" as long as it should not
        self.tests: dict[tuple[int, int], dict[str, Any]] = {}  # test scores on record, by iteration and replicate
        self.changes: list[Change] = []  # those that the search went on from
        self.refitted = False  # whether the best was trained once more, on all images but the test images
        self._spoilt: list[int] = []  # iterations of which a further training failed
        self._refusals = 0  # in a row
        self._last_failure: Failure | None = None
        self._proposed: dict[int, str] = {}

    @property
    def has_incumbent(self) -> bool:
        return self.incumbent is not None

    @property
    def best(self) -> Pipeline | None:
        return self.incumbent.pipeline if self.incumbent else None

    def iterations(self) -> Iterator[int]:
        """The numbers of the iterations, from 0: the first pipeline; fewer if the run is stopped."""
        for iteration in range(1 + self.settings.iterations):
            if self.stopped:
                return
            yield iteration

    # ------------------------------------------------------------------ proposals

    def first_pipeline(self, iteration: int) -> Pipeline:
        """The architect's whole pipeline, or its plan and then one engineer after the other (bottom-up)."""
        if self.settings.unified_initialization:
            self.plan, pipeline = self.team.pipeline(iteration, self._last_failure)
            return pipeline
        self.plan = self.team.plan(iteration, self._last_failure)
        sources: dict[str, str] = {}
        for component in COMPONENTS:
            sources[component] = self.team.engineer(component, iteration, dict(sources), Assignment(plan=self.plan))
        return Pipeline(**sources)

    def single_prompt(self, iteration: int) -> Pipeline:
        """A whole pipeline from one prompt, with no knowledge of any other."""
        return self.team.zero_shot(iteration, len(self.trials.dataset.class_names))

    def propose(self, iteration: int) -> Proposal:
        """The analyst's choice of one component (under strategy=global: its wishes for all), recorded."""
        incumbent = self._require_incumbent()
        self._proposed[iteration] = ""
        history = views.history(self.steps, self.settings.history)
        log = views.training_log(incumbent.log)
        rejected = {
            (step.component, step.tried): step.iteration
            for step in self.steps
            if step.iteration > incumbent.iteration and step.verdict.startswith("rejected")
        }
        sources, mistakes = _sources(incumbent.pipeline), self._mistakes(incumbent)
        proposal = self.team.analyst(iteration, history, log, sources, rejected, mistakes)
        self._proposed[iteration] = proposal.component
        self.trials.journal.once(
            f"proposal-{iteration}", "proposal", lambda: {"iteration": iteration, **proposal.model_dump()}
        )
        return proposal

    def _mistakes(self, incumbent: Incumbent) -> str:
        """Which classes it confuses, for the analyst; "" where the roles are not to know."""
        dataset = self.trials.dataset
        if not self.shows_mistakes or dataset.card_mode == "none":
            return ""
        counts = confusions(incumbent.answers, self.trials.labels, len(dataset.class_names))
        return views.mistakes(counts, dataset.class_names)

    def revise(self, iteration: int, proposal: Proposal) -> Pipeline:
        """The incumbent with one component written anew by its engineer."""
        component = _one_component(proposal.component)
        source = self._revised(iteration, component, proposal)
        return self._require_incumbent().pipeline.with_component(component, source)

    def revise_all(self, iteration: int, proposal: Proposal) -> Pipeline:
        """All components written anew, each engineer seeing the incumbent: they work at the same time."""
        return Pipeline(**{name: self._revised(iteration, name, proposal) for name in COMPONENTS})

    def _revised(self, iteration: int, component: Component, proposal: Proposal) -> str:
        incumbent = self._require_incumbent()
        before, log = _sources(incumbent.pipeline), views.training_log(incumbent.log)
        return self.team.engineer(component, iteration, before, Assignment(feedback=proposal.feedback, log=log))

    # ------------------------------------------------------------------ from a candidate to its verdict

    def evaluate(self, iteration: int, candidate: Candidate) -> None:
        """Check (with repairs), train, score, judge, record; the better pipeline becomes the incumbent."""
        try:
            checked = self._checked(iteration, candidate)
        except NoUsableReply as error:
            checked = error.failure
        if isinstance(checked, Failure):
            self._conclude(Attempt(iteration, None, candidate.component, candidate.feedback, failure=checked))
            return
        self._conclude(self._tried(iteration, dataclasses.replace(candidate, pipeline=checked)))

    def _tried(self, iteration: int, candidate: Candidate) -> Attempt:
        """Train and score a candidate that has passed its check."""
        attempt = Attempt(iteration, candidate, candidate.component, candidate.feedback)
        self.trials.candidate(iteration, candidate.pipeline, self._parent())
        pipeline = candidate.pipeline
        upcoming, sampled = self._upcoming(iteration), self._sampled(pipeline)
        fit = self.trials.fit(iteration, pipeline, upcoming, sampled, self._reference(pipeline))
        attempt = dataclasses.replace(attempt, fit=fit, failure=fit.failure)
        if fit.failure:
            return attempt
        given = self.trials.score(Again(iteration, race=iteration))
        if isinstance(given, Failure):
            return dataclasses.replace(attempt, failure=given)
        return dataclasses.replace(attempt, answers=given)

    def fail(self, iteration: int, failure: Failure) -> None:
        """An iteration in which no candidate came about: recorded, summarised, told to the analyst."""
        self._conclude(Attempt(iteration, None, self._proposed.get(iteration, ALL), failure=failure))

    def _checked(self, iteration: int, candidate: Candidate) -> Pipeline | Failure:
        """The pipeline once it passes, after at most `strategy.repairs` repairs by the engineer concerned."""
        component, pipeline = candidate.component, candidate.pipeline
        for attempt in range(1 + self.settings.repairs):
            failure = self.trials.check(iteration, attempt, component, pipeline, self._parent())
            if failure is None or attempt == self.settings.repairs:
                return failure or pipeline
            broken = failure.component or "model" if component == ALL else _one_component(component)
            # Models often fail to mend what they see and do better afresh, so the last repair starts from what worked.
            fresh = attempt > 0 and attempt + 1 == self.settings.repairs
            sources = dict(_sources(pipeline))
            if fresh:
                del sources[broken]
                if self.incumbent:
                    sources[broken] = self.incumbent.pipeline.source(broken)
            told = Assignment(self.plan, candidate.feedback, error=failure, fresh=fresh)
            source = self.team.engineer(broken, iteration, sources, told)
            pipeline = pipeline.with_component(broken, source)
        raise AssertionError("the loop returns")

    def _parent(self) -> Parent | None:
        """What a candidate revises; None if it stands alone."""
        incumbent = self.incumbent
        return Parent(incumbent.iteration, incumbent.pipeline) if incumbent and self.strategy.refines else None

    def _sampled(self, pipeline: Pipeline) -> np.ndarray | None:
        """Of which training images augmented samples are wanted: none if the data component is not new."""
        new = self.incumbent is None or "data" in pipeline.changed(self.incumbent.pipeline)
        return samples.wanted(self.trials.dataset) if new else None

    def _reference(self, pipeline: Pipeline) -> dict[str, Any] | None:
        """How long the training of the pipeline was that this one revises: one of the same speed is to have no more."""
        incumbent = self.incumbent
        if incumbent is None or not self.strategy.refines:
            return None
        return incumbent.length.reference(set(pipeline.changed(incumbent.pipeline)) <= {"training"})

    def _upcoming(self, iteration: int) -> list[Key]:
        """What the executor will be asked for after this iteration, as far as that is known."""
        if iteration < self.settings.iterations:
            return [("smoke", iteration + 1)]
        return [] if self.first is None else [("test", self.first)]

    def _judge(self, attempt: Attempt) -> tuple[Attempt, Judgement]:
        """The verdict; a candidate that the search would go on from must pass the audit."""
        given = attempt.answers
        if attempt.failure is None and given is not None:
            entry = self.standings.enter(attempt.iteration, given == self.trials.labels)
            judged = self._raced(attempt, entry)
            if isinstance(judged, Judgement):
                failure = self.trials.audit(Again(attempt.iteration)) if judged.verdict.replaces else None
                if failure is None:
                    return dataclasses.replace(attempt, entry=entry), judged
                judged = failure
            attempt = dataclasses.replace(attempt, answers=None, failure=judged)
        failure = attempt.failure
        assert failure is not None
        return attempt, without_comparison(has_score=False, why=f"{failure.reason.value}: {failure.message}")

    def _raced(self, attempt: Attempt, entry: Entry) -> Judgement | Failure:
        """The verdict, after as many further trainings of candidate and incumbent as the rule asks for.

        A candidate that fails with another seed has failed; an incumbent that does is not trained again in this race.
        """
        final = False
        while isinstance(asked := self.standings.judge(entry, final), Further):
            runs = asked is Further.CANDIDATE
            if runs and attempt.candidate and attempt.fit:
                again = self._again(entry, attempt.candidate.pipeline, attempt.fit.length, attempt.iteration)
            else:
                again = self._best_again(attempt.iteration)
            if isinstance(again, Failure) and runs:
                return again
            final = again is not True
        return asked

    def train_best(self, trainings: int) -> None:
        """After the loop: train the best pipeline until it has so many trainings, or until there is none to be had."""
        leading = self.standings.incumbent
        while leading and len(leading.rows) < trainings and self._best_again(None) is True:
            pass

    def refit_best(self) -> None:
        """After the loop: train the best pipeline on all images but the test images, if the budget has room."""
        if self.incumbent:
            self.refitted = self.trials.refit(self.incumbent.iteration, self.incumbent.pipeline)

    def _best_again(self, race: int | None) -> Failure | bool:
        incumbent, leading = self._require_incumbent(), self.standings.incumbent
        assert leading is not None
        return self._again(leading, incumbent.pipeline, incumbent.length, race)

    def _again(self, entry: Entry, pipeline: Pipeline, length: Length, race: int | None) -> Failure | bool:
        """Train a pipeline once more. Whether it was: False if the budget has no room for that."""
        replicate = len(entry.rows) + self._spoilt.count(entry.iteration)
        what = Again(entry.iteration, replicate, race)
        found = self.trials.again(what, pipeline, length.reference(same_but_training=True))
        if isinstance(found, Failure):
            self._spoilt.append(entry.iteration)
            return found
        if found is None:
            return False
        self.standings.add(entry, found == self.trials.labels, replicate)
        return True

    def _conclude(self, attempt: Attempt) -> None:
        """Judge, record the verdict, change the incumbent if it is one, and let the summarizer say a sentence."""
        attempt, judgement = self._judge(attempt)
        iteration = attempt.iteration
        self._last_failure = attempt.failure or self._last_failure
        self._count_refusals(attempt.failure)
        before, leading = self.incumbent, self.standings.incumbent
        given, fit = attempt.answers, attempt.fit
        if judgement.verdict.replaces and attempt.candidate and attempt.entry and fit and given is not None:
            self.incumbent = Incumbent(iteration, attempt.candidate.pipeline, self._log(fit), fit.length, given)
            self.standings.replace(attempt.entry)
            if leading:
                self.changes.append(Change(attempt.component, attempt.entry, leading))
            self.first = iteration if self.first is None else self.first
        self.trials.journal.once(
            f"verdict-{iteration}",
            "verdict",
            lambda: {
                "iteration": iteration,
                "component": attempt.component,
                "verdict": judgement.verdict.value,
                "note": judgement.note,
                "wins": judgement.wins,
                "losses": judgement.losses,
                "p_value": judgement.p_value,
                "effect": judgement.effect,
                "low": judgement.low,
                "high": judgement.high,
                "trainings": list(judgement.trainings),
                "accuracy": self.standings.accuracy(attempt.entry) if attempt.entry else None,
                "incumbent_accuracy": self.standings.accuracy(leading) if leading else None,
                "incumbent": self.incumbent.iteration if self.incumbent else None,
            },
        )
        self._tidy(iteration, before)
        step = self._step(attempt, judgement)
        text = self._summary(step, before, attempt)
        self.trials.journal.once(f"summary-{iteration}", "summary", lambda: {"iteration": iteration, "text": text})
        self.steps.append(dataclasses.replace(step, note=text))

    def _count_refusals(self, failure: Failure | None) -> None:
        refused = failure is not None and failure.reason is Reason.REFUSED
        self._refusals = self._refusals + 1 if refused else 0
        if failure and self._refusals == MAX_REFUSALS:
            self.stopped = f"the language model declined {MAX_REFUSALS} times in a row; the last time {failure.message}"

    def _tidy(self, iteration: int, before: Incumbent | None) -> None:
        """Keep the weights of the first pipeline and of the incumbent; nobody needs the others."""
        accepted = self.incumbent is not None and self.incumbent.iteration == iteration
        self.trials.executor.discard(iteration, keep_work=accepted)
        if accepted and before and before.iteration != self.first:
            self.trials.executor.discard(before.iteration, keep_work=False)

    def _step(self, attempt: Attempt, judgement: Judgement) -> views.Step:
        fit, entry, failure = attempt.fit, attempt.entry, attempt.failure
        last = fit.rows[-1] if fit and fit.rows else {}
        config = self.trials.executor.config
        return views.Step(
            iteration=attempt.iteration,
            component=attempt.component,
            tried=attempt.feedback or "a first pipeline",
            verdict=judgement.verdict.value,
            accuracy=self.standings.accuracy(entry) if entry else None,
            train_accuracy=last.get("train_accuracy"),
            validation_accuracy=last.get("validation_accuracy"),
            reason=f"{failure.reason.value}: {failure.message}" if failure else "",
            steps=fit.length.steps if fit else 0,
            # Where the limit is in steps, nothing that is told depends on the clock.
            used_share=fit.seconds / config.fit_seconds if fit and not config.steps else None,
            evidence=_evidence(judgement),
        )

    def _summary(self, step: views.Step, before: Incumbent | None, attempt: Attempt) -> str:
        if not self.strategy.refines:
            return ""  # such pipelines stand alone: nobody else is asked
        shown: dict[str, Any] = {
            "iteration": step.iteration,
            "component": step.component,
            "feedback": attempt.feedback,
        }
        shown["verdict"] = step.verdict
        if step.evidence:
            shown["compared with the best before"] = step.evidence
        if step.reason:
            shown["failure"] = step.reason
        # A candidate that has no score is not compared with anything.
        compared = attempt.candidate if attempt.failure is None else None
        diff = views.diff(before.pipeline, compared.pipeline) if before and compared else ""
        try:
            return self.team.summary(step.iteration, views.dump(shown), diff[:MAX_DIFF])
        except NoUsableReply as error:
            return f"(no summary: {error})"

    def _log(self, fit: Fit) -> views.TrainingLog:
        share, length = fit.seconds / self.trials.executor.config.fit_seconds, fit.length
        planned, fitting = length.epochs(length.planned_steps), length.epochs(length.steps_that_fit)
        return views.TrainingLog(fit.rows, planned, fitting, share, length.steps)

    def _require_incumbent(self) -> Incumbent:
        if self.incumbent is None:
            raise AssertionError("a revision needs an incumbent")
        return self.incumbent


def _evidence(judgement: Judgement) -> str:
    """What a verdict rests on, in words; "" where nothing was compared."""
    if judgement.p_value is None:
        return ""
    said = judgement.note.removeprefix(f"{judgement.verdict.value}: ")
    images = f"{judgement.wins} images won, {judgement.losses} lost"
    return said if said.startswith(images) else f"{images}; {said}"


def _sources(pipeline: Pipeline) -> Mapping[str, str]:
    return {name: pipeline.source(name) for name in COMPONENTS}


def _one_component(name: str) -> Component:
    return next(component for component in COMPONENTS if component == name)
