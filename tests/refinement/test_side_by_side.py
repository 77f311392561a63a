"""Several candidates an iteration: the same record whichever training ends first, wherever a run is killed; budgets."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from improve.datasets import Dataset, prepare
from improve.domain import Failure, Reason
from improve.execution.fit import Fit
from improve.judging.verification import verify
from improve.record.history import History
from improve.record.journal import JOURNAL, Record, lines, read
from improve.record.kinds import without_durations
from improve.refinement.side_by_side import HELD, Held
from tests.support import made_executor
from tests.support.made_executor import MadeExecutor, Refined, config_of, refine
from tests.support.paths import ROOT

SMALL = ("dataset.train=300", "dataset.selection=200", "dataset.test=200")
THREE = (*SMALL, "strategy.candidates=3", "executor.slots=3", "strategy.iterations=3", "acceptance.share=3")
PLACEBO = (*THREE, "strategy=placebo", "strategy.iterations=4")


class InTurn(MadeExecutor):
    """First trainings of an iteration end in a given order: a permutation of its candidates' places, from 0."""

    order: tuple[int, ...] = (0, 1, 2)
    broken: frozenset[int] = frozenset()
    most = 0  # trainings at a time
    _now = 0
    _ended: set[int]
    _changed: threading.Condition

    def fit(self, iteration: int, *given: Any, replicate: int = 0, **named: Any) -> Fit:
        lock = self.__dict__.setdefault("_changed", threading.Condition())
        ended = self.__dict__.setdefault("_ended", set())
        with lock:
            self._now += 1
            type(self).most = max(self.most, self._now)
            if iteration and not replicate:
                first = iteration - (iteration - 1) % 3
                before = self.order[: self.order.index(iteration - first)]
                wanted = {first + place for place in before}
                lock.wait_for(lambda: wanted <= ended, timeout=20)
                ended.add(iteration)
                lock.notify_all()
            self._now -= 1
        fit = super().fit(iteration, *given, replicate=replicate, **named)
        failure = Failure(Reason.NAN, "the loss is not finite") if iteration in self.broken and not replicate else None
        return Fit(failure, fit.seconds, fit.rows, fit.length)


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return prepare(config_of(*SMALL).dataset, cache, lambda note: None)


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> type[InTurn]:
    made = type("OwnInTurn", (InTurn,), {})
    monkeypatch.setattr(made_executor, "MadeExecutor", made)
    return made


def steps(folder: Path) -> list[tuple[str, str, Any]]:
    return [(r.key, r.kind, without_durations(r.data)) for r in read(folder / JOURNAL).records]


def records(run: Refined, kind: str) -> list[dict[str, Any]]:
    return [record.data for record in read(run.folder / JOURNAL).records if record.kind == kind]


@pytest.mark.parametrize("settings", [THREE, (*THREE, "strategy=global"), PLACEBO])
def test_the_record_is_the_same_whichever_ends_first(
    digits: Dataset, tmp_path: Path, in_turn: type[InTurn], settings: tuple[str, ...]
) -> None:
    recorded = []
    for order in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        in_turn.order = order
        run = refine(tmp_path / str(order), digits, *settings)
        recorded.append(steps(run.folder))
        assert not (run.folder / HELD).exists()
    assert recorded[0] == recorded[1] == recorded[2]
    assert in_turn.most == 3
    numbers = [data["iteration"] for key, kind, data in recorded[0] if kind == "training" and not data["replicate"]]
    assert numbers == list(range(1 + 3 * run.workshop.settings.iterations))


def test_siblings_are_told_of_each_other_and_differ(digits: Dataset, tmp_path: Path) -> None:
    run = refine(tmp_path, digits, *THREE)
    proposals = {one["iteration"]: one for one in records(run, "proposal")}
    for first in (1, 4, 7):
        asked = [proposals[number] for number in range(first, first + 3)]
        ideas = [re.findall(r"\[[^\]]+\]", one["feedback"])[0] for one in asked]
        assert len(set(ideas)) == 3, ideas
        assert len({one["component"] for one in asked}) >= 2
        for place, number in enumerate(range(first, first + 3)):
            (prompt,) = (tmp_path / "calls").glob(f"*-{number:03d}-analyst.md")
            told = prompt.read_text().count("# siblings")
            assert told == (place > 0)
            for other in asked[:place]:
                assert other["feedback"][:60] in " ".join(prompt.read_text().split())
    hashes = [tuple(one["hashes"].values()) for one in records(run, "candidate")]
    assert len(set(hashes)) == len(hashes)


def test_one_candidate_an_iteration_is_gone_on_from_and_the_others_are_surpassed(
    digits: Dataset, tmp_path: Path
) -> None:
    run = refine(tmp_path, digits, *THREE, "strategy.iterations=5")
    verdicts = {one["iteration"]: one for one in records(run, "verdict")}
    parents = {one["iteration"]: one["parent"] for one in records(run, "candidate")}
    ahead, seen = 0, Counter[str]()
    for first in range(1, 16, 3):
        siblings = [verdicts[number] for number in range(first, first + 3)]
        seen.update(one["verdict"].split(" ")[0] for one in siblings)
        assert [parents[one["iteration"]] for one in siblings] == [ahead] * 3
        kept = [one for one in siblings if one["verdict"] in ("accepted", "kept (within noise)")]
        passed = [one for one in siblings if one["verdict"] == "rejected (surpassed)"]
        assert len(kept) == (1 if kept or passed else 0)
        for one in passed:
            assert one["p_value"] >= kept[0]["p_value"]
            assert one["accuracy"] > one["incumbent_accuracy"]
        ahead = kept[0]["iteration"] if kept else ahead
        assert {one["incumbent"] for one in siblings} == {ahead}
    assert run.workshop.incumbent is not None
    assert run.workshop.incumbent.iteration == ahead
    assert seen["accepted"] + seen["kept"] >= 2


def test_a_candidate_that_fails_does_not_hold_up_its_siblings(
    digits: Dataset, tmp_path: Path, in_turn: type[InTurn]
) -> None:
    in_turn.broken = frozenset({2, 6})
    run = refine(tmp_path, digits, *THREE)
    verdicts = {one["iteration"]: one["verdict"] for one in records(run, "verdict")}
    assert [number for number, verdict in verdicts.items() if verdict == "failed"] == [2, 6]
    assert list(verdicts) == list(range(10))


def cut(whole: Path, folder: Path, count: int) -> None:
    shutil.copytree(whole, folder)
    (folder / JOURNAL).write_text("".join(lines(read(whole / JOURNAL).records[:count])))


@pytest.mark.parametrize("settings", [THREE, PLACEBO])
def test_a_run_is_resumed_at_every_record(digits: Dataset, tmp_path: Path, settings: tuple[str, ...]) -> None:
    whole = refine(tmp_path / "whole", digits, *settings)
    expected = steps(whole.folder)
    again = [data["race"] for _, kind, data in expected if kind == "training" and data["replicate"]]
    assert any(race is not None for race in again) or settings is not PLACEBO
    for count in range(4, len(expected), 7):
        folder = tmp_path / f"cut{count}"
        cut(whole.folder, folder, count)
        resumed = refine(folder, digits, *settings)
        assert steps(folder) == expected
        done = [data["iteration"] for _, kind, data in expected[:count] if kind == "training" and not data["replicate"]]
        assert not set(done) & set(resumed.executor.fitted)
        shutil.rmtree(folder)


def test_killed_while_a_sibling_trains_nothing_that_has_ended_is_trained_again(
    digits: Dataset, cache: Path, tmp_path: Path
) -> None:
    whole = refine(tmp_path / "whole", digits, *THREE)
    folder = tmp_path / "killed"
    program = [sys.executable, "-m", "tests.support.killed_beside", str(folder), str(cache), *THREE]
    killed = subprocess.run(program, cwd=ROOT, timeout=240, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kinds = [record.kind for record in read(folder / JOURNAL).records]
    assert kinds[-1] == "batch"
    assert sorted(path.name for path in (folder / HELD).iterdir()) == ["training-2.json", "training-3.json"]
    resumed = refine(folder, digits, *THREE)
    assert resumed.executor.fitted[0] == 1
    assert not {2, 3} & set(resumed.executor.fitted)
    assert steps(folder) == steps(whole.folder)


def test_what_is_held_is_of_the_same_sources_or_of_no_use(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.put("training-1", {"data": "a"}, {"training": {"failure": None}, "score": None})
    assert held.get("training-1", {"data": "a"}) == {"training": {"failure": None}, "score": None}
    assert held.get("training-1", {"data": "b"}) is None
    assert held.get("training-2", {"data": "a"}) is None
    (tmp_path / HELD / "training-1.json").write_text("")
    assert held.get("training-1", {"data": "a"}) is None
    held.drop(["training-1", "training-2"])
    assert not (tmp_path / HELD).exists()


def test_what_ends_a_run_ends_the_trainings_beside_it(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(MadeExecutor):
        ended = 0
        begun = threading.Barrier(3, timeout=60)

        def fit(self, iteration: int, *given: Any, **named: Any) -> Fit:
            if iteration:
                self.begun.wait()
            if iteration == 1:
                raise OSError(28, "no space left")
            while iteration and not self.stopped:
                time.sleep(0.01)
            Endless.ended += iteration > 1
            return super().fit(iteration, *given, **named)

    monkeypatch.setattr(made_executor, "MadeExecutor", Endless)
    with pytest.raises(OSError, match="no space"):
        refine(tmp_path, digits, *THREE)
    assert Endless.ended == 2
    assert not (tmp_path / HELD).exists() or not list((tmp_path / HELD).iterdir())


@pytest.mark.parametrize("most", [2, 3, 5, 7])
def test_a_budget_of_trainings_is_never_exceeded_and_all_of_it_is_used(
    digits: Dataset, tmp_path: Path, most: int
) -> None:
    settings = (*THREE, f"budget.trainings={most}", "finish=single")
    run = refine(tmp_path / "run", digits, *settings)
    trained = [(one["iteration"], one["replicate"]) for one in records(run, "training")]
    assert len(trained) <= most
    assert len(trained) == most or len(records(run, "verdict")) == 10
    assert run.ended["budget"] == "budget.trainings"
    judged = [one["iteration"] for one in records(run, "verdict")]
    assert judged == sorted({number for number, _ in trained}), "what was trained is judged"
    asked = {one["iteration"] for one in records(run, "llm") if one["role"] == "architect" or "engineer" in one["role"]}
    assert asked == set(judged), "nobody is asked for what cannot be trained"
    expected = steps(run.folder)
    for count in range(2, len(expected), 9):
        folder = tmp_path / f"cut{count}"
        cut(run.folder, folder, count)
        refine(folder, digits, *settings)
        assert steps(folder) == expected


def test_what_is_delivered_is_trained_side_by_side(digits: Dataset, tmp_path: Path, in_turn: type[InTurn]) -> None:
    settings = (*SMALL, "strategy.iterations=0", "executor.slots=2", "finish=ensemble", "finish.members=4")
    run = refine(tmp_path, digits, *settings)
    assert [one["trainings"] for one in records(run, "batch")] == [[[0, 0]], [[0, 1], [0, 2], [0, 3]]]
    assert sorted(run.executor.again) == [(0, 1), (0, 2), (0, 3)]
    assert [one["replicate"] for one in records(run, "training")] == [0, 1, 2, 3]


def test_one_candidate_in_one_slot_is_recorded_as_before(digits: Dataset, tmp_path: Path) -> None:
    run = refine(tmp_path, digits, *SMALL, "strategy.iterations=2")
    kinds = [record.kind for record in read(tmp_path / JOURNAL).records]
    assert "batch" not in kinds
    assert not any("slot_seconds" in one for one in records(run, "training"))


def test_verdicts_of_siblings_are_verified(digits: Dataset, tmp_path: Path) -> None:
    run = refine(tmp_path, digits, *PLACEBO)
    strategy = {"name": "placebo", "iterations": 4, "candidates": 3}
    rule = {"rule": "racing", "alpha": 0.05, "share": 3.0}
    said = {"config": {"strategy": strategy, "acceptance": rule}, "dataset": {"fingerprint": digits.fingerprint}}
    history = History.of([Record("run", "run", said, "", 0.0), *read(run.folder / JOURNAL).records])
    checks = {one.what: one for one in verify(history, run.folder, digits)}
    mine = [one for what, one in checks.items() if what.startswith("verdict on")]
    assert len(mine) == 13
    assert all(one.holds for one in mine), [one for one in mine if not one.holds]
    assert checks["the gains that are claimed"].holds


def test_the_history_knows_the_incumbent_before_an_iteration(digits: Dataset, tmp_path: Path) -> None:
    run = refine(tmp_path, digits, *THREE)
    first = Record("run", "run", {"config": {"strategy": {"candidates": 3, "iterations": 3}}}, "", 0.0)
    history = History.of([first, *read(run.folder / JOURNAL).records])
    for iteration in history.iterations[1:]:
        assert iteration.verdict is not None
        assert iteration.candidate is not None
        assert iteration.incumbent == iteration.candidate["parent"]
        best = history.iteration(iteration.verdict["incumbent"])
        assert best is not None
        changed = iteration.incumbent != iteration.verdict["incumbent"] <= iteration.number
        assert iteration.best_accuracy == (best.accuracy if changed else iteration.incumbent_accuracy)
