"""What is delivered is what was scored: `best/` predicts again, and the card says whether its answers are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from improve.datasets import Dataset
from improve.display.sentences import delivered
from improve.execution import machine
from improve.pipeline.export import export
from improve.record.history import History
from improve.sandbox import choose
from improve.session.delivery import compare_delivered
from tests.support.bench import Bench, executor, honest, make_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture
def made(task: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    plain = executor(task, choose("auto"), tmp_path / "run")
    bench = Bench(plain.config, plain.sandbox, task, {}, plain.folder, 0, plain.phase)
    yield bench
    bench.close()


def exported(made: Bench) -> Path:
    """Train, score and export the honest pipeline."""
    assert made.fit(0, honest()).failure is None
    scored = made.predict(0, "predict", made.dataset.counts["selection"])
    assert isinstance(scored, np.ndarray)
    (made.folder / "predictions").mkdir()
    np.save(made.folder / "predictions/selection-000.npy", scored)
    context, versions = made.context("0 fit"), machine.library_versions()
    best = made.folder / "best"
    return export(best, honest(), [made.work_folder(0)], context, made.dataset.train_folder, versions, "")


def test_the_exported_pipeline_gives_the_scored_answers_and_a_changed_one_is_found_out(made: Bench) -> None:
    best = exported(made)
    record = compare_delivered(made, best, 0, [0])
    same = {"differing": 0, "difference": 0.0, "note": ""}
    assert record == {"iteration": 0, "split": "selection", "images": 200, **same}
    with (best / "model.py").open("a") as file:
        file.write("\nModel.forward = lambda self, images: -self.network(images)\n")
    changed = compare_delivered(made, best, 0, [0])
    assert changed["differing"] > 100
    (best / "model.py").write_text("broken = 1 / 0\n")
    broken = compare_delivered(made, best, 0, [0])
    assert (broken["differing"], broken["difference"]) == (200, None)
    assert "ZeroDivisionError" in broken["note"]


@pytest.mark.parametrize(
    ("differing", "note", "good", "said"),
    [
        (0, "", True, "gave the scored answers again, for all 200"),
        (2, "", True, "answers 2 of 200"),
        (3, "", False, "answers 3 of 200"),
        (200, "it broke", False, "cannot predict: it broke"),
    ],
)
def test_the_card_says_so(differing: int, note: str, good: bool, said: str) -> None:
    record = {"iteration": 0, "images": 200, "differing": differing, "difference": 0.5, "note": note}
    empty = History(run={}, iterations=(), calls=(), first_test=None, best_test=None, finished=None,  # type: ignore[typeddict-item]
                    started_at="", ended_at="", seconds=0.0)  # fmt: skip
    history = dataclasses.replace(empty, delivered=record)  # type: ignore[arg-type]
    assert history.is_delivered is good
    assert said in delivered(history)
    assert empty.is_delivered
    assert delivered(empty) == ""
