"""Candidates side by side: each has a line of its own in the panel as long as it trains, and its name everywhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from improve.display import make_display
from improve.display.live import RichDisplay
from improve.execution.replicates import predicting_stage, replicate_in, training_stage
from improve.record.journal import Record
from improve.record.numbering import Numbering
from tests.support.made_run import Maker

THREE = {"strategy": {"name": "iterative", "iterations": 8, "candidates": 3}}


def with_candidates(maker: Maker) -> list[Record]:
    """The records of a made run, as if it had three candidates an iteration."""
    found: list[Record] = []
    maker.replay(found.append)
    run = found[0]
    config = {**run.data["config"], **THREE}
    return [Record(run.key, run.kind, {**run.data, "config": config}, run.at, run.seconds), *found[1:]]


def batch(trainings: Sequence[tuple[int, int]]) -> Record:
    at = "2030-01-01T00:00:00+00:00"
    return Record("batch-9", "batch", {"trainings": [list(one) for one in trainings]}, at, 0.0)


def shown(display: RichDisplay, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(display.panel())
    return captured.get().splitlines()


def test_each_of_the_siblings_has_a_line_in_a_terminal_of_80_columns(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, height=30, markup=False, highlight=False)
    display = RichDisplay(io.StringIO(), console)
    for record in with_candidates(Maker(tmp_path)):
        if record.kind != "finished" and (record.data.get("iteration") or 0) < 7:
            display.record(record)
    display.record(batch([(7, 0), (8, 0), (9, 0)]))
    display.phase(7, "training", "epoch 3/12, validation 0.712")
    display.phase(8, "training", "120 steps in at most 22 s")
    lines = shown(display, console)
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert "3 trainings side by side" in text
    assert "3.1 training: epoch 3/12, validation 0.712" in text
    assert "3.2 training: 120 steps in at most 22 s" in text
    assert "3.3 waits for a free slot" in text
    display.phase(8, training_stage(0), "done")
    assert "3.2 training: done" in "\n".join(shown(display, console))
    display.record(Record("check-10-0", "check", {"iteration": 10, "failure": None}, "2030-01-01T00:00:00+00:00", 0.0))
    display.phase(10, "check", "smoke run")
    text = "\n".join(shown(display, console))
    assert "side by side" not in text
    assert "checking the code: smoke run" in text
    display.close()


def test_replicates_side_by_side_are_told_apart() -> None:
    for replicate in range(4):
        assert replicate_in(training_stage(replicate)) == replicate_in(predicting_stage(replicate)) == replicate
    assert replicate_in("check") == 0


def test_plain_lines_name_candidates(tmp_path: Path) -> None:
    stream = io.StringIO()
    display = make_display("plain", stream)
    records = with_candidates(Maker(tmp_path))
    for record in records:
        display.record(record)
    display.close()
    said = stream.getvalue()
    assert "iteration 1 of 8, candidate 1: model ✔ accepted" in said
    assert "iteration 2 of 8, candidate 1: " in said
    assert "iteration 3 of 8, candidate 2: " in said


@given(st.integers(1, 7), st.integers(0, 60))
def test_numbers_and_their_places_agree(candidates: int, iteration: int) -> None:
    numbering = Numbering(candidates)
    numbers = numbering.numbers(iteration)
    assert len(numbers) == (candidates if iteration else 1)
    assert [numbering.iteration(number) for number in numbers] == [iteration] * len(numbers)
    places = [numbering.place(number) for number in numbers]
    assert places == ([0] if candidates == 1 or not iteration else list(range(1, candidates + 1)))
    assert numbers[0] == (numbering.numbers(iteration - 1)[-1] + 1 if iteration else 0)


@pytest.mark.parametrize(("number", "short", "where"), [
    (0, "0", "first pipeline"), (1, "1.1", "iteration 1, candidate 1"), (9, "3.3", "iteration 3, candidate 3"),
])  # fmt: skip
def test_names(number: int, short: str, where: str) -> None:
    assert (Numbering(3).short(number), Numbering(3).where(number)) == (short, where)
    assert Numbering(1).where(9, 20) == "iteration 9 of 20"
