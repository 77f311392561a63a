"""Whether a run's record holds: scores, intervals, p-values, verdicts and hashes made again from what they came from.

The journal's lines are chained (`improve.record.journal`), so what is looked at here is whether its numbers follow from
the stored predictions, the hidden labels and the sources. A number whose inputs are gone is said to be unseen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.schema import AcceptanceConfig
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Split
from improve.errors import ResumeError
from improve.judging.acceptance import Further, Judgement
from improve.judging.claims import Change, claimed
from improve.judging.rules import configured
from improve.judging.scoring import Answers, answers, confusion_matrix, load_predictions, score
from improve.judging.standings import Standings
from improve.record.history import History, Iteration
from improve.record.kinds import EnsembleRecord, MemberRecord, ScoreRecord, TestRecord
from improve.record.provenance import code_hash

TOLERANCE = 1e-9
SPLITS: tuple[Split, ...] = ("selection", "test")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `holds` is None where it could not be."""

    what: str
    holds: bool | None
    detail: str = ""


@dataclass
class _Again:
    """The run's races, run again. `unseen`: answers are missing, so that no later race can be, nor what is claimed."""

    standings: Standings
    changes: list[Change] = field(default_factory=list)
    unseen: bool = False

    def complete(self, history: History, known: Mapping[tuple[int, int], Answers], labels: np.ndarray | None) -> None:
        """The trainings after the loop."""
        for entry in self.standings.entries:
            came = history.iteration(entry.iteration)
            for record in came.again if came else ():
                given = known.get((entry.iteration, record["replicate"]))
                if record["race"] is None and given is not None:
                    self.standings.add(entry, given == labels, record["replicate"])


def verify(history: History, folder: Path, dataset: Dataset | None) -> Iterator[Check]:
    """All checks of a run. `dataset` holds its labels, None if they are not to be had."""
    yield from _data(history, dataset)
    labels = {split: dataset.labels(split) for split in SPLITS} if dataset else {}
    known: dict[tuple[int, int], Answers] = {}
    for iteration in history.iterations:
        yield from _sources(iteration, folder)
        yield from _selection(iteration, folder, labels.get("selection"), known)
    settings = AcceptanceConfig(**history.run["config"].get("acceptance", {}))
    again = _Again(Standings(configured(settings, history.planned)))
    yield from _verdicts(history, known, labels.get("selection"), again)
    again.complete(history, known, labels.get("selection"))
    for test in (history.first_test, history.best_test):
        if test:
            yield from _scored(f"test score of the {test['which']} pipeline", test, folder, labels.get("test"))
    for member in history.members:
        what = f"test score of iteration {member['iteration']}, seed {member['replicate'] + 1}"
        yield from _scored(what, member, folder, labels.get("test"))
    yield from _tested(history)
    if history.ensemble:
        yield from _scored("test score of the ensemble", history.ensemble, folder, labels.get("test"))
        yield from _mean(history, history.ensemble, folder)
    if history.refit:
        yield from _scored("test score of the refit", history.refit, folder, labels.get("test"))
    yield from _claimed(history, folder, again, labels)
    yield from _delivered(history, folder)
    yield from _sums(history)


def _data(history: History, dataset: Dataset | None) -> Iterator[Check]:
    recorded = str(history.run["dataset"].get("fingerprint", ""))
    if dataset is None:
        yield Check("images and labels", None, "they could not be prepared again")
        return
    same: bool | None = dataset.fingerprint == recorded
    said = f"fingerprint {dataset.fingerprint[:12]}"
    if not same and history.run.get("code") != code_hash():
        same, said = (
            None,
            "the version of improve that made the run prepared them in another way",
        )
    yield Check("images and labels", same, said)


def _sources(iteration: Iteration, folder: Path) -> Iterator[Check]:
    """The components as files, by the hashes on record."""
    candidate = iteration.candidate
    if candidate is None:
        return
    wrong = [
        f"{name}.py"
        for name in COMPONENTS
        if _sha256(folder / candidate["folder"] / f"{name}.py") != candidate["hashes"][name]
    ]
    yield Check(f"sources of iteration {iteration.number}", not wrong, " and ".join(wrong) or "3 files")


def _selection(
    iteration: Iteration, folder: Path, labels: np.ndarray | None, known: dict[tuple[int, int], Answers]
) -> Iterator[Check]:
    """The scores of an iteration's trainings; `known` gets their answers, by iteration and replicate."""
    first = (iteration.score,) if iteration.score and not iteration.score["failure"] else ()
    for record in (*first, *iteration.again):
        replicate = record.get("replicate", 0)
        seed = f", seed {replicate + 1}" if replicate else ""
        yield from _scored(f"selection score of iteration {iteration.number}{seed}", record, folder, labels)
        try:
            given = answers(load_predictions(folder / record["predictions"], record["sha256"]))
        except ResumeError:
            continue  # already said by the check of the score
        known[iteration.number, replicate] = given


def _mean(history: History, ensemble: EnsembleRecord, folder: Path) -> Iterator[Check]:
    """The predictions of the ensemble are the mean of its members'."""
    records: dict[int, TestRecord | MemberRecord] = {
        m["replicate"]: m for m in history.members if m["iteration"] == ensemble["iteration"]
    }
    if history.best_test:
        records[0] = history.best_test
    what = "predictions of the ensemble"
    try:
        members = [
            load_predictions(folder / records[number]["predictions"], records[number]["sha256"])
            for number in ensemble["members"]
        ]
        mean = load_predictions(folder / ensemble["predictions"], ensemble["sha256"])
    except (ResumeError, KeyError):
        yield Check(what, None, "the predictions of a member are not to be had")
        return
    same = np.allclose(mean, np.mean(np.array(members, dtype=np.float64), axis=0), atol=1e-6)
    yield Check(what, bool(same), f"the mean of {len(members)} trainings")


def _tested(history: History) -> Iterator[Check]:
    """The test scores belong to the pipelines that they name."""
    verdicts = [iteration.verdict for iteration in history.iterations if iteration.verdict]
    chosen = [verdict["incumbent"] for verdict in verdicts if verdict["incumbent"] is not None]
    for test, expected in ((history.first_test, chosen[:1]), (history.best_test, chosen[-1:])):
        if test:
            named = (
                test["failure"] is not None or test["predictions"] == f"predictions/test-{test['iteration']:03d}.npy"
            )
            what = f"which pipeline the {test['which']} test score is of"
            yield Check(what, [test["iteration"]] == expected and named, f"iteration {test['iteration']}")


def _claimed(history: History, folder: Path, again: _Again, labels: Mapping[Split, np.ndarray]) -> Iterator[Check]:
    """The gains over the first pipeline and of each component, from all trainings."""
    recorded, best, first = history.claims, history.best_test, history.first_test
    if recorded is None or best is None or first is None:
        return
    what = "the gains that are claimed"
    if again.unseen or not labels:
        yield Check(what, None, "predictions or labels are not to be had")
        return
    tests = [best] if best["iteration"] == first["iteration"] else [best, first]
    try:
        tested = [_right(history, test, folder, labels["test"]) for test in tests]
    except ResumeError as error:
        yield Check(what, False, error.what)
        return
    made = claimed(again.standings, again.changes, tested)
    gain = made["gain"]
    yield Check(what, _same(recorded, made), f"{100 * gain['effect']:+.1f} points on test" if gain else "")


def _right(history: History, test: TestRecord, folder: Path, labels: np.ndarray) -> list[np.ndarray]:
    """Which test images each training of a pipeline gets right."""
    members = [member for member in history.members if member["iteration"] == test["iteration"]]
    records: list[TestRecord | MemberRecord] = [test, *members]
    given = (load_predictions(folder / one["predictions"], one["sha256"]) for one in records if not one["failure"])
    return [answers(one) == labels for one in given]


def _scored(
    what: str, record: ScoreRecord | TestRecord | MemberRecord | EnsembleRecord, folder: Path, labels: np.ndarray | None
) -> Iterator[Check]:
    """A score against its predictions and labels."""
    if record["failure"]:
        return
    try:
        given = load_predictions(folder / record["predictions"], record["sha256"])
    except ResumeError as error:
        yield Check(what, False, error.what)
        return
    if labels is None:
        yield Check(what, None, "the predictions are those on record, the labels are not to be had")
        return
    if len(labels) != len(given):
        yield Check(what, False, f"{len(given)} predictions for {len(labels)} labels")
        return
    again = score(given, labels)
    expected = {"correct": again.correct, "total": again.total, "accuracy": again.accuracy}
    expected |= {"low": again.low, "high": again.high}
    values: Mapping[str, Any] = dict(record)
    wrong = [f"{key} {values[key]} is {value}" for key, value in expected.items() if not _same(values[key], value)]
    if "confusion" in values and confusion_matrix(given, labels).tolist() != values["confusion"]:
        wrong.append("the confusion matrix is another")
    yield Check(what, not wrong, "; ".join(wrong) or f"{again.correct} of {again.total} right")


def _verdicts(
    history: History, known: Mapping[tuple[int, int], Answers], labels: np.ndarray | None, rerun: _Again
) -> Iterator[Check]:
    """Each verdict from the answers of candidate and incumbent, by the run's rule."""
    standings = rerun.standings
    best: int | None = None
    for iteration in history.iterations:
        verdict = iteration.verdict
        if verdict is None:
            continue
        what, given = f"verdict on iteration {iteration.number}", known.get((iteration.number, 0))
        refused = iteration.failure is not None or (iteration.audit is not None and iteration.audit["flagged"])
        again = None
        if labels is not None and given is not None and not rerun.unseen:
            again = _raced(standings, iteration, history, known, labels)
        elif iteration.score is not None and not iteration.score["failure"]:
            rerun.unseen = True
        if refused or iteration.score is None:
            yield Check(what, verdict["verdict"] == "failed" and verdict["incumbent"] == best, verdict["verdict"])
        elif again is None:
            yield Check(what, None, "its predictions or labels are not to be had")
            best = verdict["incumbent"]
        else:
            if again.verdict.replaces:
                if standings.incumbent:
                    rerun.changes.append(Change(verdict["component"], standings.entries[-1], standings.incumbent))
                standings.replace(standings.entries[-1])
                best = iteration.number
            same = (again.verdict.value, again.wins, again.losses, best) == (
                verdict["verdict"], verdict["wins"], verdict["losses"], verdict["incumbent"],
            )  # fmt: skip
            same = same and _same(again.p_value, verdict["p_value"])
            yield Check(what, same, again.note if same else f"{verdict['note']}, but again {again.note}")


def _raced(
    standings: Standings,
    iteration: Iteration,
    history: History,
    known: Mapping[tuple[int, int], Answers],
    labels: np.ndarray,
) -> Judgement | None:
    """Run the race of an iteration again, with the trainings on record; None if it did not come to a verdict."""
    entry = standings.enter(iteration.number, known[iteration.number, 0] == labels)
    waiting: dict[int, list[ScoreRecord]] = {}
    final = False
    while isinstance(asked := standings.judge(entry, final), Further):
        runner = entry if asked is Further.CANDIDATE else standings.incumbent
        assert runner is not None
        came = history.iteration(runner.iteration)
        mine = [record for record in came.again if record["race"] == iteration.number] if came else []
        queue = waiting.setdefault(runner.iteration, mine)
        if queue:
            replicate = queue.pop(0)["replicate"]
            given = known.get((runner.iteration, replicate))
            if given is None:
                return None
            standings.add(runner, given == labels, replicate)
        elif runner is entry and iteration.spoilt:
            return None
        else:
            final = True  # there was no budget, or the training failed
    return asked


def _delivered(history: History, folder: Path) -> Iterator[Check]:
    """The components in best/ are those of the best pipeline."""
    best = history.iteration(history.best) if history.finished else None
    if best is None or best.candidate is None:
        return
    hashes = best.candidate["hashes"]
    wrong = [f"{name}.py" for name in COMPONENTS if _sha256(folder / "best" / f"{name}.py") != hashes[name]]
    yield Check("the code in best/", not wrong, " and ".join(wrong) or f"that of iteration {best.number}")


def _sums(history: History) -> Iterator[Check]:
    finished = history.finished
    if finished is None:
        yield Check("totals", None, "the run is not finished")
        return
    same = dict(finished["tokens"]) == history.tokens and _same(finished["usd"], history.usd)
    yield Check("totals of tokens and money", same, f"{history.costs.total_tokens:,} tokens")
    verdicts = [iteration.verdict for iteration in history.iterations if iteration.verdict]
    best = verdicts[-1]["incumbent"] if verdicts else None
    yield Check("which pipeline is the best", finished["best"] == best, f"iteration {best}")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=TOLERANCE)
    return bool(one == other)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
