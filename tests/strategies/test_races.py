"""Runs whose verdicts race over training seeds: what is trained again, what is on record, that it can be resumed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from improve.config.schema import FinishConfig
from improve.datasets import Dataset, prepare
from improve.display.sentences import refit_tested
from improve.domain import Failure, Reason
from improve.execution.fit import Fit
from improve.execution.replicates import REFIT
from improve.judging.verification import verify
from improve.record.history import History
from improve.record.journal import JOURNAL, Record, lines, read
from improve.record.kinds import without_durations
from improve.refinement.finish import members
from tests.support import made_executor
from tests.support.made_executor import MadeExecutor, Refined, config_of, refine

SMALL = ("dataset.train=300", "dataset.selection=200", "dataset.test=200")
RUN = (*SMALL, "strategy=placebo", "strategy.iterations=8", "acceptance.share=2")


class Luck(MadeExecutor):
    """All trainings are of one pipeline: 70% right on average, with the luck of their seeds. `broken` fail."""

    broken: frozenset[tuple[int, int]] = frozenset()

    def fit(self, iteration: int, *given: Any, replicate: int = 0, **named: Any) -> Fit:
        fit = super().fit(iteration, *given, replicate=replicate, **named)
        failure = Failure(Reason.NAN, "the loss is not finite") if (iteration, replicate) in self.broken else None
        return Fit(failure, fit.seconds, fit.rows, fit.length)

    def _answers(self, iteration: int, labels: np.ndarray, replicate: int = 0) -> np.ndarray:
        rng = np.random.default_rng([4, iteration, replicate % 99])
        right = rng.random(len(labels)) < 0.7 + rng.normal(0, 0.02)
        chosen = np.where(right, labels, (labels + 1) % len(self.dataset.class_names))
        return np.asarray(np.eye(len(self.dataset.class_names), dtype=np.float32)[chosen])


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return prepare(config_of(*SMALL).dataset, cache, lambda note: None)


@pytest.fixture
def luck(monkeypatch: pytest.MonkeyPatch) -> type[Luck]:
    made = type("OwnLuck", (Luck,), {})
    monkeypatch.setattr(made_executor, "MadeExecutor", made)
    return made


def records(run: Refined, kind: str) -> list[dict[str, Any]]:
    return [record.data for record in read(run.folder / JOURNAL)[0] if record.kind == kind]


def history_of(folder: Path) -> History:
    first = Record("run", "run", {"config": {"strategy": {"name": "placebo", "iterations": 8}}}, "", 0.0)
    return History.of([first, *read(folder / JOURNAL)[0]])


def test_close_races_train_again_and_the_incumbents_trainings_add_up(
    digits: Dataset, tmp_path: Path, luck: type[Luck]
) -> None:
    run = refine(tmp_path, digits, *RUN)
    again = [(data["iteration"], data["replicate"]) for data in records(run, "training") if data["replicate"]]
    assert again == run.executor.again
    raced = [data for data in records(run, "training") if data["replicate"] and data["race"] is not None]
    assert 3 <= len(raced) <= 2 * (8 - 3)
    assert len(set(again)) == len(again)
    for data in records(run, "score"):
        suffix = f"-r{data['replicate']}" if data["replicate"] else ""
        assert data["predictions"] == f"predictions/selection-{data['iteration']:03d}{suffix}.npy"
    for verdict in records(run, "verdict")[1:]:
        ours, theirs = verdict["trainings"]
        assert ours <= 3
        assert theirs >= 1
        assert verdict["verdict"] != "accepted"
        kept = verdict["verdict"] == "kept (within noise)"
        assert kept == (verdict["accuracy"] > verdict["incumbent_accuracy"]) == (verdict["effect"] > 0)
        assert verdict["low"] <= verdict["effect"] <= verdict["high"]
    history = history_of(tmp_path)
    assert sum(len(iteration.again) for iteration in history.iterations) == len(again)
    assert all(not (iteration.training or {}).get("replicate") for iteration in history.iterations)


@pytest.mark.slow
def test_a_run_with_races_is_resumed_at_every_step(digits: Dataset, tmp_path: Path, luck: type[Luck]) -> None:
    whole = refine(tmp_path / "whole", digits, *RUN)
    expected = read(whole.folder / JOURNAL)[0]
    for cut in range(4, len(expected), 3):
        folder = tmp_path / f"cut{cut}"
        shutil.copytree(whole.folder, folder)
        (folder / JOURNAL).write_text("".join(lines(expected[:cut])))
        resumed = refine(folder, digits, *RUN)
        assert [r.data for r in map(_timeless, read(resumed.folder / JOURNAL)[0])] == [
            r.data for r in map(_timeless, expected)
        ]
        shutil.rmtree(folder)


def _timeless(record: Record) -> Record:
    return Record(record.key, record.kind, without_durations(record.data), "", 0.0)


def test_a_candidate_that_fails_with_another_seed_has_failed(digits: Dataset, tmp_path: Path, luck: type[Luck]) -> None:
    usual = refine(tmp_path / "usual", digits, *RUN)
    spoilt = next(
        (data["iteration"], data["replicate"])
        for data in records(usual, "training")
        if data["replicate"] and data["race"] == data["iteration"]
    )
    luck.broken = frozenset({spoilt})
    run = refine(tmp_path / "broken", digits, *RUN)
    verdict = records(run, "verdict")[spoilt[0]]
    assert verdict["verdict"] == "failed"
    assert "the loss is not finite" in verdict["note"]
    iteration = history_of(run.folder).iteration(spoilt[0])
    assert iteration is not None
    assert iteration.failure is not None
    assert iteration.accuracy is None


def test_an_incumbent_that_fails_with_another_seed_stays_and_is_not_trained_so_again(
    digits: Dataset, tmp_path: Path, luck: type[Luck]
) -> None:
    usual = refine(tmp_path / "usual", digits, *RUN)
    spoilt = next(
        (data["iteration"], data["replicate"])
        for data in records(usual, "training")
        if data["replicate"] and data["race"] != data["iteration"]
    )
    luck.broken = frozenset({spoilt})
    run = refine(tmp_path / "broken", digits, *RUN)
    assert run.executor.again.count(spoilt) == 1
    assert records(run, "verdict")[spoilt[0]]["verdict"] != "failed"


def test_what_races_decided_follows_from_the_record(digits: Dataset, tmp_path: Path, luck: type[Luck]) -> None:
    run = refine(tmp_path, digits, *RUN)
    first = Record("run", "run", {"config": _settings(), "dataset": {"fingerprint": digits.fingerprint}}, "", 0.0)
    history = History.of([first, *read(run.folder / JOURNAL)[0]])
    checks = {check.what: check for check in verify(history, tmp_path, digits)}
    verdicts = [check for what, check in checks.items() if what.startswith("verdict on")]
    assert len(verdicts) == 9
    assert all(check.holds for check in verdicts), [check for check in verdicts if not check.holds]
    assert sum("selection" in what and "seed" in what for what in checks) == len(run.executor.again)
    assert checks["predictions of the ensemble"].holds
    assert all(check.holds for what, check in checks.items() if what.startswith("test score"))


@pytest.fixture(scope="module")
def told(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Record]]:
    """The folder and the records of a run with races, a failed iteration, further trainings and an ensemble."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_executor, "MadeExecutor", type("OwnLuck", (Luck,), {"broken": frozenset({(3, 0)})}))
        run = refine(tmp_path_factory.mktemp("told"), digits, *RUN, "finish.members=5")
    first = Record("run", "run", {"config": _settings(), "dataset": {"fingerprint": digits.fingerprint}}, "", 0.0)
    return run.folder, [first, *read(run.folder / JOURNAL)[0]]


EDITS: dict[str, Any] = {
    "score": {"correct": 1, "total": 1, "accuracy": 0.99, "low": 0.9, "high": 0.91, "sha256": "x", "predictions": "x"},
    "member": {"correct": 1, "accuracy": 0.99, "low": 0.9, "high": 0.91, "sha256": "x"},
    "ensemble": {"correct": 1, "accuracy": 0.99, "low": 0.9, "high": 0.91, "sha256": "x"},
    "test": {"correct": 1, "accuracy": 0.99, "low": 0.9, "confusion": [], "sha256": "x", "iteration": 2},
    "verdict": {"verdict": "accepted", "wins": 99, "losses": 99, "p_value": 1e-9, "incumbent": 2},
    "claims": {"gain": None, "components": {}},
    "gain": {"effect": 0.5, "low": 0.4, "high": 0.6, "p_value": 1e-9, "trainings": [9, 9], "covers_training": False},
}


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in EDITS.items() for key in keys])
def test_an_edited_number_is_found(kind: str, key: str, told: tuple[Path, list[Record]], digits: Dataset) -> None:
    folder, all_records = told
    last = max(n for n, record in enumerate(all_records) if record.kind == ("claims" if kind == "gain" else kind))
    kept, edit = all_records[last], {key: EDITS[kind][key]}
    data = {**kept.data, "gain": {**kept.data["gain"], **edit}} if kind == "gain" else {**kept.data, **edit}
    assert data != kept.data
    edited = [*all_records[:last], dataclasses.replace(kept, data=data), *all_records[last + 1 :]]
    assert any(check.holds is False for check in verify(History.of(edited), folder, digits))


def test_what_nobody_edited_holds(told: tuple[Path, list[Record]], digits: Dataset) -> None:
    folder, all_records = told
    checks = list(verify(History.of(all_records), folder, digits))
    assert all(check.holds is not False for check in checks), [check for check in checks if check.holds is False]
    assert {check.what for check in checks if check.holds} >= {"the gains that are claimed", "verdict on iteration 3"}


def test_the_best_pipeline_is_delivered_as_an_ensemble_with_its_own_test_score(
    digits: Dataset, tmp_path: Path, luck: type[Luck]
) -> None:
    run = refine(tmp_path, digits, *RUN, "finish.members=5")
    (ensemble,) = records(run, "ensemble")
    best = records(run, "verdict")[-1]["incumbent"]
    assert ensemble["iteration"] == best
    assert ensemble["members"] == [0, 1, 2, 3, 4]
    after = [data for data in records(run, "training") if data["race"] is None]
    assert all(data["iteration"] == best for data in after)
    members = records(run, "member")
    assert [data["replicate"] for data in members if data["iteration"] == best] == [1, 2, 3, 4]
    files = [f"predictions/test-{best:03d}{suffix}.npy" for suffix in ("", "-r1", "-r2", "-r3", "-r4")]
    mean = np.mean([np.load(tmp_path / file) for file in files], axis=0)
    assert np.allclose(np.load(tmp_path / ensemble["predictions"]), mean)
    tests = [(data["iteration"], data["replicate"]) for data in members]
    assert len(set(tests)) == len(tests)
    assert len(run.executor.tested) == len(tests) + len({data["iteration"] for data in records(run, "test")})


def test_finish_single_trains_nothing_after_the_loop(digits: Dataset, tmp_path: Path, luck: type[Luck]) -> None:
    run = refine(tmp_path, digits, *RUN, "finish=single")
    assert not records(run, "ensemble")
    assert all(data["race"] is not None for data in records(run, "training"))


def test_an_ensemble_that_is_worse_on_the_selection_images_is_not_delivered(
    digits: Dataset, tmp_path: Path, luck: type[Luck], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = luck._answers

    def unlucky(made: Luck, iteration: int, labels: np.ndarray, replicate: int = 0) -> np.ndarray:
        return np.roll(plain(made, iteration, labels, replicate), 1 if replicate else 0, axis=1)

    monkeypatch.setattr(luck, "_answers", unlucky)
    run = refine(tmp_path, digits, *RUN, "acceptance.share=0", "finish.members=3")
    assert [data["replicate"] for data in records(run, "training") if data["race"] is None] == [1, 2]
    assert members(run.workshop, FinishConfig("ensemble", 3)) == [0]
    assert not records(run, "ensemble")


@pytest.mark.parametrize("fails", [False, True])
def test_a_refit_is_tested_once_and_delivered_if_it_went_well(
    fails: bool, digits: Dataset, tmp_path: Path, luck: type[Luck]
) -> None:
    """And no claim is made of it: it has learnt from more images than what it would be compared with."""
    single = refine(tmp_path / "single", digits, *RUN, "finish=single")
    best = records(single, "verdict")[-1]["incumbent"]
    luck.broken = frozenset({(best, REFIT)}) if fails else frozenset()
    for _ in range(2):  # a resumed run does nothing again
        run = refine(tmp_path / "refit", digits, *RUN, "finish=refit")
    assert bool(records(run, "refit")[0]["failure"]) is fails
    tests = records(run, "refit_test")
    assert [data["iteration"] for data in tests] == ([] if fails else [best])
    assert members(run.workshop, FinishConfig("refit")) == ([0] if fails else [REFIT])
    assert records(run, "claims") == records(single, "claims")
    assert records(run, "test") == records(single, "test")
    history = history_of(tmp_path / "refit")
    history.run["verified"] = True
    assert ("all images but the test images" in refit_tested(history)) is not fails


def test_claims_are_about_pipelines_that_do_not_differ(digits: Dataset, tmp_path: Path, luck: type[Luck]) -> None:
    run = refine(tmp_path, digits, *RUN)
    (claims,) = records(run, "claims")
    gain = claims["gain"]
    assert gain["low"] < 0 < gain["high"]
    assert gain["p_value"] > 0.05
    assert gain["covers_training"]
    assert gain["trainings"][0] == 3
    assert set(claims["components"]) <= {"data", "model", "training"}
    assert all(one["low"] < 0 < one["high"] for one in claims["components"].values())


def _settings() -> dict[str, Any]:
    return {
        "strategy": {"name": "placebo", "iterations": 8},
        "acceptance": {"rule": "racing", "alpha": 0.05, "trainings": 3, "share": 2.0},
    }
