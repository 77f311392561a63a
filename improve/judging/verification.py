"""Whether a run's record holds: scores, intervals, p-values, verdicts and hashes made again from what they came from.

The journal's lines are chained (`improve.record.journal`), so what is looked at here is whether its numbers follow from
the stored predictions, the hidden labels and the sources. A number whose inputs are gone is said to be unseen.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.schema import AcceptanceConfig
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Reason, Split
from improve.errors import ResumeError
from improve.judging.acceptance import Judgement
from improve.judging.claims import Change, claimed
from improve.judging.rules import configured
from improve.judging.scoring import Answers, answers, confusion_matrix, load_predictions, score
from improve.judging.siblings import Ask, Judged, leader, race, surpassed
from improve.judging.standings import Standings
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.kinds import CandidateRecord, EnsembleRecord, MemberRecord, ScoreRecord, TestRecord
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
        called = history.numbering.at(iteration.number)
        yield from _sources(called, iteration.candidate, folder)
        yield from _selection(called, iteration, folder, labels.get("selection"), known)
    settings = AcceptanceConfig(**history.run["config"].get("acceptance", {}))
    again = _Again(Standings(configured(settings, history.planned, history.numbering.candidates)))
    yield from _verdicts(history, known, labels.get("selection"), again)
    again.complete(history, known, labels.get("selection"))
    for test in (history.first_test, history.best_test):
        if test:
            yield from _scored(f"test score of the {test['which']} pipeline", test, folder, labels.get("test"))
    for member in history.members:
        what = f"test score of {history.numbering.at(member['iteration'])}, seed {member['replicate'] + 1}"
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


def _sources(called: str, candidate: CandidateRecord | None, folder: Path) -> Iterator[Check]:
    """The components as files, by the hashes on record."""
    if candidate is None:
        return
    wrong = [
        f"{name}.py"
        for name in COMPONENTS
        if _sha256(folder / candidate["folder"] / f"{name}.py") != candidate["hashes"][name]
    ]
    yield Check(f"sources of {called}", not wrong, " and ".join(wrong) or "3 files")


def _selection(
    called: str, iteration: Iteration, folder: Path, labels: np.ndarray | None, known: dict[tuple[int, int], Answers]
) -> Iterator[Check]:
    """The scores of an iteration's trainings; `known` gets their answers, by iteration and replicate."""
    first = (iteration.score,) if iteration.score and not iteration.score["failure"] else ()
    for record in (*first, *iteration.again):
        replicate = record.get("replicate", 0)
        seed = f", seed {replicate + 1}" if replicate else ""
        yield from _scored(f"selection score of {called}{seed}", record, folder, labels)
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
            yield Check(what, [test["iteration"]] == expected and named, history.numbering.at(test["iteration"]))


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
    """Each verdict from the answers of the candidates of its iteration and of the incumbent, by the run's rule."""
    judged = (iteration for iteration in history.iterations if iteration.verdict)
    for _, group in itertools.groupby(judged, lambda one: history.numbering.iteration(one.number)):
        siblings = list(group)
        again = _raced(rerun, siblings, history, known, labels)
        incumbent = rerun.standings.incumbent
        leading = incumbent.iteration if incumbent else None
        for iteration in siblings:
            verdict, found = iteration.verdict, again.get(iteration.number)
            assert verdict is not None
            what = f"verdict on {history.numbering.at(iteration.number)}"
            if _has_failed(iteration):
                same = verdict["verdict"] == "failed" and (rerun.unseen or verdict["incumbent"] == leading)
                yield Check(what, same, verdict["verdict"])
            elif not isinstance(found, Judgement):
                yield Check(what, None, "its predictions or labels are not to be had")
            else:
                same = (found.verdict.value, found.wins, found.losses, leading) == (
                    verdict["verdict"], verdict["wins"], verdict["losses"], verdict["incumbent"],
                )  # fmt: skip
                same = same and _same(found.p_value, verdict["p_value"])
                yield Check(what, same, found.note if same else f"{verdict['note']}, but again {found.note}")


def _has_failed(iteration: Iteration) -> bool:
    flagged = iteration.audit is not None and iteration.audit["flagged"]
    return iteration.failure is not None or flagged or iteration.score is None


def _raced(
    rerun: _Again,
    siblings: Sequence[Iteration],
    history: History,
    known: Mapping[tuple[int, int], Answers],
    labels: np.ndarray | None,
) -> Judged:
    """Run the races of an iteration again, with the trainings on record, and go on from the best: the verdicts."""
    scored = [one for one in siblings if one.score is not None and not one.score["failure"]]
    if labels is None or any((one.number, 0) not in known for one in scored):
        rerun.unseen = rerun.unseen or bool(scored)
    if rerun.unseen or labels is None:
        return {}
    standings, before = rerun.standings, rerun.standings.incumbent
    entries = [standings.enter(one.number, known[one.number, 0] == labels) for one in scored]
    recorded = _Recorded(history, known, labels, standings)
    judged = race(standings, entries, recorded.train)
    if recorded.unseen:
        rerun.unseen = True
        return {}
    for one in scored:
        if one.audit is not None and one.audit["flagged"]:
            judged[one.number] = Failure(Reason.PREDICTIONS, one.audit["note"])
    best = leader(standings, judged)
    if best is None:
        return judged
    entry = next(entry for entry in entries if entry.iteration == best)
    verdict = next(one.verdict for one in siblings if one.number == best)
    if before and verdict:
        rerun.changes.append(Change(verdict["component"], entry, before))
    standings.replace(entry)
    return surpassed(judged, best, history.where(best))


@dataclass
class _Recorded:
    """Further trainings, from the record. `unseen`: the answers of one are missing."""

    history: History
    known: Mapping[tuple[int, int], Answers]
    labels: np.ndarray
    standings: Standings
    unseen: bool = False
    waiting: dict[tuple[int, int], list[ScoreRecord]] = field(default_factory=dict)  # by who ran, and for which race

    def train(self, asks: Sequence[Ask]) -> list[bool | Failure]:
        return [self._train(ask) for ask in asks]

    def _train(self, ask: Ask) -> bool | Failure:
        runner = ask.runner.iteration
        came = self.history.iteration(runner)
        mine = [record for record in came.again if record["race"] == ask.race] if came else []
        queue = self.waiting.setdefault((runner, ask.race), mine)
        if queue:
            replicate = queue.pop(0)["replicate"]
            given = self.known.get((runner, replicate))
            self.unseen = self.unseen or given is None
            if given is not None:
                self.standings.add(ask.runner, given == self.labels, replicate)
            return given is not None
        if ask.own and came and came.spoilt:
            return Failure(Reason.CRASH, came.spoilt["message"])
        return False  # there was no budget, or the training failed


def _delivered(history: History, folder: Path) -> Iterator[Check]:
    """The components in best/ are those of the best pipeline."""
    best = history.iteration(history.best) if history.finished else None
    if best is None or best.candidate is None:
        return
    hashes = best.candidate["hashes"]
    wrong = [f"{name}.py" for name in COMPONENTS if _sha256(folder / "best" / f"{name}.py") != hashes[name]]
    yield Check("the code in best/", not wrong, " and ".join(wrong) or f"that of {history.numbering.at(best.number)}")


def _sums(history: History) -> Iterator[Check]:
    finished = history.finished
    if finished is None:
        yield Check("totals", None, "the run is not finished")
        return
    same = dict(finished["tokens"]) == history.tokens and _same(finished["usd"], history.usd)
    yield Check("totals of tokens and money", same, f"{history.costs.total_tokens:,} tokens")
    verdicts = [iteration.verdict for iteration in history.iterations if iteration.verdict]
    best = verdicts[-1]["incumbent"] if verdicts else None
    called = "none" if best is None else history.numbering.at(best)
    yield Check("which pipeline is the best", finished["best"] == best, called)


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
