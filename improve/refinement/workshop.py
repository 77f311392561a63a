"""What all strategies share: the team, the executor, the incumbent, and the way from a candidate to its verdict.

Every step that asks a model or runs code goes through `Journal.once`, so that a resumed run finds it done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from improve.agents import views
from improve.agents.parsing import Proposal
from improve.agents.team import Assignment, NoUsableReply, Team
from improve.config.schema import StrategyConfig
from improve.domain import COMPONENTS, Component, Failure, Pipeline, Reason
from improve.execution.fit import Fit
from improve.execution.length import Length
from improve.execution.warm import Key
from improve.judging.acceptance import Judgement, Rule
from improve.judging.claims import Change
from improve.judging.scoring import confusions
from improve.judging.siblings import Ask, leader, race, surpassed
from improve.judging.standings import Entry, Standings
from improve.record.numbering import Numbering
from improve.refinement import samples
from improve.refinement.attempt import Attempt, Incumbent, after, evidence, summed_up, verdict_record, with_verdict
from improve.refinement.trials import Again, Parent, Trials, Wanted
from improve.spending.budget import BudgetUsed
from improve.strategies import Candidate, Strategy
from improve.strategies.strategy import ALL

MAX_DIFF = 6000  # characters of a diff that the summarizer is shown
MAX_REFUSALS = 3  # candidates in a row that the language model declines, after which a run ends


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
        self._proposed: dict[int, Proposal | None] = {}  # by the number of the candidate; None: the analyst gave none
        self.numbering = Numbering(settings.candidates)

    @property
    def has_incumbent(self) -> bool:
        return self.incumbent is not None

    @property
    def best(self) -> Pipeline | None:
        return self.incumbent.pipeline if self.incumbent else None

    def iterations(self) -> Iterator[int]:
        """From 0, the first pipeline; fewer if the run is stopped."""
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
        """The analyst's choice of one component (under strategy=global: its wishes for all), recorded.

        It is told what the same iteration tries already, and what of that is the same word for word is sent back.
        """
        incumbent = self._require_incumbent()
        self._proposed[iteration] = None
        history = views.history(self.steps, self.settings.history)
        log = views.training_log(incumbent.log)
        since = self.numbering.iteration(incumbent.iteration)
        tried = {
            (step.component, step.tried): f"was tried in iteration {step.iteration} and rejected"
            for step in self.steps
            if step.iteration > since and step.verdict.startswith("rejected")
        }
        siblings = self._siblings(iteration)
        tried |= {(one.component, one.tried): "is tried in this iteration already" for one in siblings}
        sources, mistakes = _sources(incumbent.pipeline), self._mistakes(incumbent)
        proposal = self.team.analyst(iteration, history, log, sources, tried, mistakes, views.proposed(siblings))
        self._proposed[iteration] = proposal
        self.trials.journal.once(
            f"proposal-{iteration}", "proposal", lambda: {"iteration": iteration, **proposal.model_dump()}
        )
        return proposal

    def _siblings(self, number: int) -> list[views.Step]:
        """What the analyst has proposed for the same iteration before."""
        at = self.numbering.iteration(number)
        before = ((each, self._proposed.get(each)) for each in self.numbering.numbers(at) if each < number)
        return [
            views.Step(at, one.component, one.feedback, verdict="", candidate=self.numbering.place(each))
            for each, one in before
            if one is not None
        ]

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

    def evaluate(self, tries: Mapping[int, Candidate | Failure]) -> None:
        """Check (with repairs), train, score, judge and record the candidates of an iteration, by their numbers.

        The best becomes the incumbent if it is better. A failure says why no candidate came about. Raises `BudgetUsed`
        where the budget had no room for one of them, once the others are judged.
        """
        budget, stop = self.trials.budget, None
        attempts: list[Attempt] = []
        ahead = sum(isinstance(one, Candidate) for one in tries.values())
        for number, candidate in tries.items():
            ahead -= isinstance(candidate, Candidate)
            if budget:  # what the others will take is not to be spent on this one
                budget.promised = ahead + sum(one.candidate is not None for one in attempts)
            try:
                attempts.append(self._prepared(number, candidate, attempts))
            except BudgetUsed as used:
                stop = used
                break
        if budget:
            budget.promised = 0
        tried = self._tried(attempts)
        self._conclude(tried)
        if stop:
            raise stop
        if left := next((one for one in attempts if all(one.iteration != other.iteration for other in tried)), None):
            self.trials.require_room(self.numbering.at(left.iteration))

    def _prepared(self, number: int, candidate: Candidate | Failure, before: Sequence[Attempt]) -> Attempt:
        """A candidate that has passed its check and is ready to be trained, or why there is none."""
        if isinstance(candidate, Failure):
            given = self._proposed.get(number, ALL) or ""
            return Attempt(number, None, given if isinstance(given, str) else given.component, failure=candidate)
        try:
            checked = self._checked(number, candidate)
        except NoUsableReply as error:
            checked = error.failure
        twin = next((one for one in before if one.candidate and one.candidate.pipeline == checked), None)
        if twin and self.strategy.refines:
            called = self.numbering.where(twin.iteration)
            checked = Failure(Reason.CONTRACT, f"the very same pipeline as that of {called}: it is trained once.")
        if isinstance(checked, Failure):
            return Attempt(number, None, candidate.component, candidate.feedback, failure=checked)
        self.trials.candidate(number, checked, self._parent())
        ready = dataclasses.replace(candidate, pipeline=checked)
        return Attempt(number, ready, candidate.component, candidate.feedback)

    def _tried(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Train and score what has passed its check. What the budget has no room for is left out."""
        ready = [self._wanted(one.iteration, one.candidate.pipeline) for one in attempts if one.candidate]
        numbers = (one.what.iteration for one in ready)
        made = dict(zip(numbers, self.trials.train(ready), strict=True))
        return [
            after(one, trained) if (trained := made.get(one.iteration)) else one
            for one in attempts
            if one.failure or made[one.iteration]
        ]

    def _wanted(self, number: int, pipeline: Pipeline) -> Wanted:
        what = Again(number, race=number)
        called, reference = self.numbering.at(number), self._reference(pipeline)
        return Wanted(what, called, pipeline, reference, self._upcoming(number), self._sampled(pipeline))

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

    def _upcoming(self, number: int) -> list[Key]:
        """What the executor will be asked for after the iteration of this candidate, as far as that is known."""
        iteration = self.numbering.iteration(number)
        if number != self.numbering.numbers(iteration)[-1]:
            return []
        if iteration < self.settings.iterations:
            return [("smoke", number + 1)]
        return [] if self.first is None else [("test", self.first)]

    def _judge(self, attempts: Sequence[Attempt]) -> list[tuple[Attempt, Judgement]]:
        """The verdicts; a candidate that the search would go on from must pass the audit."""
        standings, labels = self.standings, self.trials.labels
        entries = {
            one.iteration: standings.enter(one.iteration, one.answers == labels)
            for one in attempts
            if one.answers is not None
        }
        judged = race(standings, list(entries.values()), partial(self._again, attempts))
        while (best := leader(standings, judged)) is not None and (failure := self.trials.audit(Again(best))):
            judged[best] = failure
        judged = surpassed(judged, best, self.numbering.where(best)) if best is not None else judged
        return [with_verdict(one, entries.get(one.iteration), judged.get(one.iteration)) for one in attempts]

    def _again(self, attempts: Sequence[Attempt], asks: Sequence[Ask]) -> list[Failure | bool]:
        """Train each once more that a race asks for. Whether it was: False if the budget has no room for that."""
        own = {one.iteration: one for one in attempts}
        pipelines = [
            (attempt.candidate.pipeline, attempt.fit.length)
            if ask.own and (attempt := own[ask.race]).candidate and attempt.fit
            else self._best_trained()
            for ask in asks
        ]
        return self._further([(ask.runner, ask.race) for ask in asks], pipelines)

    def train_best(self, trainings: int) -> None:
        """After the loop: train the best pipeline until it has so many trainings, or until there is none to be had."""
        leading = self.standings.incumbent
        while leading and (missing := trainings - len(leading.rows)) > 0:
            at_once = missing if self.trials.side_by_side else 1
            made = self._further([(leading, None)] * at_once, [self._best_trained()] * at_once)
            if not all(one is True for one in made):
                break

    def _best_trained(self) -> tuple[Pipeline, Length]:
        incumbent = self._require_incumbent()
        return incumbent.pipeline, incumbent.length

    def _further(
        self, runners: Sequence[tuple[Entry, int | None]], pipelines: Sequence[tuple[Pipeline, Length]]
    ) -> list[Failure | bool]:
        """Train pipelines once more: of which entry, for which race. Whether each was, as `judging.siblings.Train`."""
        wanted: list[Wanted] = []
        for (entry, number), (pipeline, length) in zip(runners, pipelines, strict=True):
            asked = sum(one.what.iteration == entry.iteration for one in wanted)
            what = Again(entry.iteration, len(entry.rows) + self._spoilt.count(entry.iteration) + asked, number)
            called = self.numbering.at(entry.iteration)
            wanted.append(Wanted(what, called, pipeline, length.reference(same_but_training=True)))
        made: list[Failure | bool] = []
        for (entry, _), one, trained in zip(runners, wanted, self.trials.train(wanted), strict=True):
            if trained is None:
                made.append(False)
            elif isinstance(trained.answers, Failure):
                self._spoilt.append(entry.iteration)
                made.append(trained.answers)
            else:
                self.standings.add(entry, trained.answers == self.trials.labels, one.what.replicate)
                made.append(True)
        return made

    def refit_best(self) -> None:
        """After the loop: train the best pipeline on all images but the test images, if the budget has room."""
        if self.incumbent:
            self.refitted = self.trials.refit(self.incumbent.iteration, self.incumbent.pipeline)

    def _conclude(self, attempts: Sequence[Attempt]) -> None:
        """Judge, change the incumbent if one is better, and tell of each what became of it."""
        judged = self._judge(attempts)
        before, leading = self.incumbent, self.standings.incumbent
        for attempt, judgement in judged:
            given, fit = attempt.answers, attempt.fit
            if judgement.verdict.replaces and attempt.candidate and attempt.entry and fit and given is not None:
                number = attempt.iteration
                self.incumbent = Incumbent(number, attempt.candidate.pipeline, self._log(fit), fit.length, given)
                self.standings.replace(attempt.entry)
                if leading:
                    self.changes.append(Change(attempt.component, attempt.entry, leading))
                self.first = number if self.first is None else self.first
        for attempt, judgement in judged:
            self._last_failure = attempt.failure or self._last_failure
            self._count_refusals(attempt.failure)
            self._tell(attempt, judgement, before, leading)

    def _tell(self, attempt: Attempt, judgement: Judgement, before: Incumbent | None, leading: Entry | None) -> None:
        """Record the verdict, and let the summarizer say a sentence. `before`, `leading`: whom it was against."""
        iteration, now = attempt.iteration, self.incumbent.iteration if self.incumbent else None

        def accuracy(entry: Entry | None) -> float | None:
            return self.standings.accuracy(entry) if entry else None

        self.trials.journal.once(
            f"verdict-{iteration}",
            "verdict",
            lambda: verdict_record(attempt, judgement, accuracy(attempt.entry), accuracy(leading), now),
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
            iteration=self.numbering.iteration(attempt.iteration),
            candidate=self.numbering.place(attempt.iteration),
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
            evidence=evidence(judgement),
        )

    def _summary(self, step: views.Step, before: Incumbent | None, attempt: Attempt) -> str:
        if not self.strategy.refines:
            return ""  # such pipelines stand alone: nobody else is asked
        # A candidate that has no score is not compared with anything.
        compared = attempt.candidate if attempt.failure is None else None
        diff = views.diff(before.pipeline, compared.pipeline) if before and compared else ""
        try:
            return self.team.summary(attempt.iteration, views.dump(summed_up(step, attempt.feedback)), diff[:MAX_DIFF])
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


def _sources(pipeline: Pipeline) -> Mapping[str, str]:
    return {name: pipeline.source(name) for name in COMPONENTS}


def _one_component(name: str) -> Component:
    return next(component for component in COMPONENTS if component == name)
