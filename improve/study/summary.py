"""What is said at the end of a study: how many runs are done, and each that is not, with a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from improve.config.invocation import same_again
from improve.display.text import count
from improve.errors import ImproveError, RunsFailed
from improve.record.folders import past_of
from improve.study.outcome import Outcome, State, on_record
from improve.study.plan import Job, Plan


def outcomes_of(plan: Plan, known: Mapping[Path, Outcome]) -> list[Outcome]:
    """An outcome for each combination of the plan: those that came back, and the others by what is on record."""
    refused = [Outcome.failed(name, error) for name, error in plan.refused]
    return [*refused, *(known.get(job.folder) or _on_disk(job) for job in plan.jobs)]


def _on_disk(job: Job) -> Outcome:
    """Of a run whose process said nothing: it was stopped, or it died."""
    try:
        ended = on_record(job.config)
    except ImproveError as error:
        return Outcome.failed(job.name, error)
    if ended is not None:
        return Outcome(job.name, State.DONE) if ended.state is State.SKIPPED else ended
    return Outcome(job.name, State.WAITING if past_of(job.folder) is None else State.STOPPED)


def print_summary(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Counts, then the runs that are not simply done; those of which the same is to be said, together."""
    states = Counter(outcome.state for outcome in outcomes)
    counts = ", ".join(f"{states[state]} {state.value}" for state in State if states[state])
    studies = sorted({str(job.folder.parent) for job in plan.jobs})
    where = f" in {', '.join(studies)}" if studies else ""
    print(f"\n{count(len(outcomes), 'run')}{where}: {counts}")
    if plan.same:
        print(f"{count(plan.same, 'combination')} of values meant the same run as another.")
    told: dict[tuple[State, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.note or outcome.state in (State.FAILED, State.STOPPED):
            told.setdefault((outcome.state, outcome.note), []).append(outcome.name)
    for (state, note), names in told.items():
        who = names[0] if len(names) == 1 else f"{len(names)} runs ({names[0]}, …)"
        text = f"{who}: {note}" if note else ", ".join(names)
        print(f"  {state.value} {text}".replace("\n", "\n    "))


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raises `RunsFailed` if any run has failed, or did not end."""
    failed = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    if failed:
        raise RunsFailed(
            f"{len(failed)} of {count(len(outcomes), 'run')} failed; what the others did is kept.",
            f"once it is mended, the same command goes on with them: {same_again()}",
            max(outcome.exit_code for outcome in failed),
        )
    left = [outcome for outcome in outcomes if outcome.state in (State.STOPPED, State.WAITING)]
    if left:
        raise RunsFailed(
            f"{len(left)} of {count(len(outcomes), 'run')} did not end; what is done is kept.",
            f"the same command goes on with them: {same_again()}",
            ImproveError.exit_code,
        )
