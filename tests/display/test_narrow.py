"""On a narrow terminal: names stay whole, nothing of what is said is left out, and a long stage shows its time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.display.card import fill
from improve.display.progress import Phase, Progress
from improve.record.history import History
from tests.display.test_display import shown_by_rich
from tests.support.made_run import STORY, Maker

LLM = "qwen2.5-coder-32b-instruct-q4_k_m-of-a-long-name"


@pytest.mark.parametrize("width", [40, 80])
def test_the_reason_of_a_verdict_is_whole(width: int, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    said, display, _ = shown_by_rich(maker, width)
    display.close()
    words = said.split()
    for iteration in History.read(tmp_path).iterations:
        assert re.search(r"\s+".join(map(re.escape, iteration.reason.split())), said), iteration.reason
    assert "…" not in said
    assert words.count("model") + words.count("data") + words.count("training") >= len(STORY) - 1


def test_a_long_name_is_whole_in_the_panel(tmp_path: Path) -> None:
    _, display, console = shown_by_rich(Maker(tmp_path, llm=LLM), 60)
    with console.capture() as captured:
        console.print(display.panel())
    display.close()
    assert LLM in captured.get()


@given(st.lists(st.text("abc-/_.", min_size=1, max_size=60), min_size=1, max_size=12), st.integers(20, 80))
@settings(max_examples=100)
def test_lines_break_between_words_alone(words: list[str], width: int) -> None:
    lines = fill("  note        " + " ".join(words), width, " " * 14)
    assert " ".join(lines).split()[1:] == words
    assert all(len(line) <= width or len(line.split()) <= 2 for line in lines)


def test_a_stage_counts_its_own_seconds() -> None:
    clock = [0.0]
    progress = Progress(now=lambda: clock[0])
    progress.phase = Phase(0, "training", "120 steps in at most 22 s")
    clock[0] = 5.0
    progress.phase = Phase(0, "training", "epoch 1/1")
    assert progress.in_phase == 5.0
    progress.phase = Phase(1, "training", "")
    assert progress.in_phase == 0.0
