"""The bank of real trainings: what is recorded is read back, a stop loses nothing, and the shipped bank is sound."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bank import load, product, records
from benchmarks.bank.grid import COMPONENTS, TASKS, Job, Pool, Task, recipes
from benchmarks.bank.make import Bank, left
from improve.domain import Pipeline
from improve.pipeline.contract import check

ROOT = Path(__file__).resolve().parents[2]
TINY = Task(
    "tiny",
    {"name": "tiny", "source": "digits", "train": 300, "selection": 100, "test": 120},
    "",
    2,
    64,
    {
        "data": Pool({}, usual=[{"shift": 1}]),
        "model": Pool({"family": "plain", "widths": [8, 16]}, usual=[{"widths": [16, 32]}]),
        "training": Pool({"schedule": "cosine"}, usual=[{"schedule": "onecycle", "lr": 0.01}]),
    },
    ("000", "011", "111"),
)
# The process that is killed: a maker of eight pipelines, three of them with two seeds and one refit.
MAKER = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_bank import TINY
from benchmarks.bank.make import Bank, make
make(Bank(Path({folder!r}), cache=Path({cache!r}), tasks=[TINY], seeds=1, many_seeds=2, refits=1), 1)
"""


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_come_back(bits: list[bool]) -> None:
    assert records.unpack_bits(records.pack_bits(np.array(bits)), len(bits)).tolist() == bits


def test_probabilities_come_back_nearly() -> None:
    given = np.random.default_rng(0).dirichlet(np.full(7, 0.2), 500).astype(np.float32)
    found = records.unpack_probabilities(records.pack_probabilities(given), 7)
    assert found.shape == given.shape
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - given).max() < 0.05


def test_a_torn_record_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    assert list(records.read(file)) == []
    records.append(file, {"seed": 0})
    with open(file, "ab") as end:
        end.write(b'{"seed": 1, "ways": {"be')
    records.append(file, {"seed": 2})
    assert list(records.read(file)) == [{"seed": 0}, {"seed": 2}]


def test_grids_are_closed_and_their_components_keep_the_contract() -> None:
    total = 0
    for task in TASKS:
        options = task.options()
        cells = dict(recipes(task))
        total += len(cells)
        counts = [range(len(options[name])) for name in COMPONENTS]
        assert set(cells) == {"".join(map(str, cell)) for cell in itertools.product(*counts)}
        assert {(o["epochs"], o["batch_size"]) for o in options["training"]} == {(task.epochs, task.batch_size)}
        written = [product.sources(settings) for settings in cells.values()]
        assert len({tuple(sources.values()) for sources in written}) == len(cells)
        assert [check(Pipeline(**sources)) for sources in written] == [None] * len(cells)
    assert total >= 200


def test_what_is_left_follows_from_what_is_recorded(tmp_path: Path) -> None:
    bank = Bank(tmp_path, tasks=[TINY], seeds=2, many_seeds=4, refits=1)
    (todo,) = left(bank)
    assert len({job.key for job in todo}) == len(todo) == 3 * 4 + 3 * 1 + 5 * 2
    assert [(job.recipe, job.seed) for job in todo][:6] == list(itertools.product(TINY.many, (0, 1)))[::2] + list(
        itertools.product(TINY.many, (0, 1))
    )[1::2]
    for recipe, way in (("001", {}), ("000", {}), ("011", {"test_probabilities": "…"})):
        records.append(bank.file(TINY), {"kind": "replicate", "recipe": recipe, "seed": 0, "ways": {"best": way}})
    # That of 000 lacks its probabilities.
    assert [job for job in todo if job.key not in {j.key for j in left(bank)[0]}] == [
        Job("tiny", "011", 0),
        Job("tiny", "001", 0),
    ]


def shipped() -> list[str]:
    return list(load.tasks())


@pytest.mark.parametrize("dataset", shipped())
def test_the_shipped_bank_agrees_with_itself(dataset: str) -> None:
    task = load.tasks()[dataset]
    for way in load.WAYS:
        bank = load.load(dataset, way)
        assert len(bank.frame) == len(bank.selection) == len(bank.test) > 0
        assert set(bank.frame["recipe"]) <= set(task["recipes"])
        assert not bank.frame.duplicated(["recipe", "seed"]).any()
        for split in load.SPLITS:
            bits = getattr(bank, split)
            assert bits.shape[1] == len(bank.labels[split]) == task["counts"][split]
            np.testing.assert_allclose(bits.mean(axis=1), bank.frame[f"{split}_accuracy"], atol=1e-5)
        # One number of steps for all: what is kept does not depend on the machine's speed.
        assert bank.frame["steps"].nunique() == 1
        predicted = load.predictions(dataset, way)
        for split in load.SPLITS:
            right = predicted.classes[split] == predicted.labels[split]
            rows = [bank.rows(r)[s] for r, s in zip(predicted.frame["recipe"], predicted.frame["seed"], strict=True)]
            np.testing.assert_array_equal(right, getattr(bank, split)[rows])
            if way == "best":
                likeliest = predicted.probabilities[split].argmax(axis=2)
                np.testing.assert_array_equal(likeliest, predicted.classes[split])


@pytest.mark.parametrize("dataset", shipped())
def test_refits_are_apart(dataset: str) -> None:
    refits = load.load(dataset, "last", kind="refit")
    assert refits.selection.shape == (len(refits.frame), 0)
    assert (refits.frame["steps"] > load.load(dataset).frame["steps"].max()).all()
    assert load.load(dataset, "best", kind="refit").frame.empty


@pytest.mark.slow
def test_a_maker_that_is_killed_goes_on_and_ends_with_the_same(tmp_path: Path) -> None:
    killed, whole, cache = tmp_path / "killed", tmp_path / "whole", tmp_path / "cache"
    for folder in (killed, whole):
        folder.mkdir()
    for enough in (2, 9):
        maker = start_maker(killed, cache)
        deadline = time.monotonic() + 240
        while count(killed) < enough and time.monotonic() < deadline:
            assert maker.poll() is None
            time.sleep(0.05)
        os.kill(maker.pid, signal.SIGKILL)
        maker.wait()
        with open(killed / "tiny.jsonl", "ab") as end:
            end.write(b'{"kind": "replicate", "reci')
    for folder in (killed, whole):
        assert start_maker(folder, cache).wait(240) == 0
    found, expected = (newest(folder) for folder in (killed, whole))
    assert len(expected) == 8 + 3 + 3
    assert found == expected
    # Every epoch is validated once, and all batches of both are trained.
    lengths = {(r["kind"], r["steps"], len(r["validation_curve"])) for r in expected.values()}
    assert lengths == {("replicate", 2 * (270 // 64), 2), ("refit", 2 * (400 // 64), 0)}


def start_maker(folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    code = MAKER.format(root=str(ROOT), tests=str(Path(__file__).parent), folder=str(folder), cache=str(cache))
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def count(folder: Path) -> int:
    return len(list(records.read(folder / "tiny.jsonl")))


def newest(folder: Path) -> dict[str, Any]:
    """The records of a bank without what the clock says."""
    found = {}
    for record in records.read(folder / "tiny.jsonl"):
        key = json.dumps([record["kind"], record["recipe"], record["seed"]])
        found[key] = {name: value for name, value in record.items() if "seconds" not in name}
    return found
