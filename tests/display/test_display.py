"""The live displays and the end card: what they say, and that foreign text cannot harm the terminal."""

from __future__ import annotations

import io
import itertools
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from improve.display import make_display, print_end_card
from improve.display.live import RichDisplay
from improve.display.plain import QUIET_SECONDS, PlainDisplay
from improve.display.progress import Progress
from improve.display.sentences import comparison, gained
from improve.display.text import clean, cut_middle, duration, last_overwritten, money, one_line, short_count, trained
from improve.errors import ConfigError
from improve.record.history import History
from improve.record.journal import Record
from tests.support.made_run import STORY, Maker, wilson

POISON = " \x1b[31mred\x1b]0;owned\x07\x9b2J\r\x00\u202e[bold red]x[/bold red][/]\ud7ff\N{ZERO WIDTH SPACE}"


def controls(text: str) -> set[str]:
    return {c for c in text if c not in "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}


def plain_lines(maker: Maker) -> str:
    stream = io.StringIO()
    display = make_display("plain", stream)
    maker.replay(display.record)
    display.close()
    return stream.getvalue()


# Foreign text


@given(st.text())
def test_cleaned_text_cannot_steer_a_terminal(text: str) -> None:
    cleaned = clean(text)
    assert controls(cleaned) <= {"\t"}
    assert clean(cleaned) == cleaned


@given(st.text(), st.integers(1, 80))
def test_one_line_is_one_line_of_at_most_its_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


def test_escape_sequences_go_and_what_they_frame_stays() -> None:
    assert clean("\x1b[1;31mloss\x1b[0m 0.5") == "loss 0.5"
    assert clean("\x1b]8;;http://x\x07link\x1b]8;;\x07") == "link"
    assert clean("\x1b]0;hidden\nnext line") == "\nnext line"  # an unfinished sequence hides nothing below it
    assert last_overwritten("10%\r50%\r100%\ndone\r\n") == "100%\ndone\n"
    assert clean("one\rtwo\r\n") == "one\ntwo\n"  # nothing is overwritten where no terminal would


@given(st.text(min_size=0, max_size=3000), st.integers(10, 500))
def test_long_text_keeps_its_two_ends(text: str, limit: int) -> None:
    shown = cut_middle(text, limit)
    assert shown == text or (shown.startswith(text[:5]) and shown.endswith(text[-3:]) and len(shown) < limit + 60)


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0, 75, 4000)] == ["0:00", "1:15", "1:06:40"]
    assert [short_count(n) for n in (812, 12_345, 4_560_000)] == ["812", "12.3k", "4.6M"]
    assert money(None, rule_based=False) == "price unknown"
    assert money(0.0, rule_based=True) == "0 USD (no language model)"
    assert money(0.0421, rule_based=False) == "0.0421 USD"


# Plain lines


def test_a_training_on_a_part_of_the_images_is_said_to_be_one() -> None:
    whole = {"epochs": 3, "fit_seconds": 20.0, "epochs_that_fit": 3}
    assert trained(whole) == "3 epochs in 20 s"
    assert trained({**whole, "epochs": 1, "epochs_that_fit": 0}).startswith("1 epoch in 20 s, on a part of the images")
    assert trained({**whole, "epochs": 0, "epochs_that_fit": 0}) == "0 epochs in 20 s"  # it broke before the first
    part = {**whole, "epochs": 0.4, "epochs_that_fit": 0.4, "steps": 1200, "step_seconds": 0.01}
    assert trained(part).startswith("0.4 epochs (1,200 steps) in 20 s, on a part of the images")
    assert trained(part).endswith("does not fit in executor.fit_seconds")
    assert trained({**part, "step_seconds": 0}).endswith("does not fit in executor.steps")
    compiled = {**whole, "compiled": "yes", "compile_gain": 1.83, "compile_seconds": 14.0}
    assert trained(compiled) == "3 epochs in 20 s, compiled: 1.8 times as many steps, for 14 s"
    assert trained({**compiled, "compile_gain": 0.0}) == "3 epochs in 20 s, compiled"
    assert trained({**compiled, "compiled": "no"}) == trained(whole)


def test_plain_says_what_matters_once(tmp_path: Path) -> None:
    said = plain_lines(Maker(tmp_path))
    for expected in (
        "strategy iterative", "offline (rule-based expert, no language model)", "sandbox: T3",
        "iteration 1 of 8: the analyst chose model", "✔ accepted  61.2% → 67.1% (+5.9 pp)  A wider net",
        "✘ rejected", "~ rejected (within noise)", "check of attempt 1 failed (contract)", "! failed (timeout)",
        "test accuracy of the best pipeline", "the run has ended: all iterations done",
    ):  # fmt: skip
        assert expected in said, expected
    assert said.count("A wider net") == 1
    assert all(line.startswith("[0:") for line in said.splitlines())


def test_plain_has_no_control_characters_whatever_is_recorded(tmp_path: Path) -> None:
    said = plain_lines(Maker(tmp_path, poison=POISON, llm="m", usd=None))
    assert "A wider net" in said
    assert controls(said) == set()
    assert "[bold red]x" in said  # shown as it is, not taken for markup


def test_a_resumed_run_repeats_only_the_verdicts(tmp_path: Path) -> None:
    Maker(tmp_path).write("verdict-4")
    said = plain_lines(Maker(tmp_path))
    assert "resumed: " in said
    before, after = said.split("resumed: ")
    assert before.count("✔ accepted") == 3
    assert "the analyst chose" not in before
    assert "iteration 6 of 8: the analyst chose data" in after
    assert "✔ accepted  78.3% → 81.0%" in after


def test_quiet_stretches_are_broken_by_the_phase(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)
    now = [0.0]
    display._progress = Progress(lambda: now[0])
    for second in range(0, 100, 5):
        now[0] = float(second)
        display.phase(2, "training", f"epoch {second}\x1b[2J")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 99 // QUIET_SECONDS
    assert lines[0].endswith("training: epoch 30")


def test_a_terminal_without_utf8_gets_ascii(tmp_path: Path) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    maker = Maker(tmp_path, poison="日本")
    for mode in ("plain", "rich"):
        display = make_display(mode, stream)
        maker.replay(display.record)
        display.phase(1, "training", "日本")
        display.close()
    print_end_card(History.read(tmp_path), tmp_path, stream=stream)
    said = raw.getvalue().decode("ascii")
    assert "+ accepted  61.2% -> 67.1%" in said
    assert "x rejected" in said


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8", closefd=True) as stream:
        display = make_display("plain", stream)
        Maker(tmp_path).replay(display.record)
        display.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # so that closing can flush what is left
    assert History.read(tmp_path).is_finished


# Rich


def shown_by_rich(maker: Maker, width: int = 120) -> tuple[str, RichDisplay, Console]:
    console = Console(file=io.StringIO(), width=width, height=40, record=True, markup=False, highlight=False)
    display = RichDisplay(io.StringIO(), console)
    maker.replay(display.record)
    return console.export_text(clear=False), display, console


def test_rich_leaves_one_line_for_each_iteration(tmp_path: Path) -> None:
    said, display, _ = shown_by_rich(Maker(tmp_path))
    display.close()
    lines = [line for line in said.splitlines() if any(mark in line for mark in "✔✘~!")]
    assert len(lines) == len(STORY)
    assert lines[1].startswith("  1 model    ✔ 61.2% → 67.1% (+5.9 pp)  A wider net")
    assert "! failed (timeout)" in lines[5]


def test_the_panel_is_small_and_complete(tmp_path: Path) -> None:
    _, display, console = shown_by_rich(Maker(tmp_path))
    display.phase(8, "training", "epoch 3/12 val 0.71")
    with console.capture() as captured:
        console.print(display.panel())
    display.close()
    panel = captured.get()
    assert len(panel.splitlines()) <= 8
    for expected in ("iteration 8 of 8", "training: epoch 3/12 val 0.71", "best so far: 81.0% (79.3–82.7%)",
                     "iteration 6", "✔ ✔ ✘ ✔ ~ ! ✔ ! ~", "87.6k tokens", "0 USD (no language", "elapsed"):  # fmt: skip
        assert expected in panel, expected


def test_foreign_text_is_neither_markup_nor_control_for_rich(tmp_path: Path) -> None:
    said, display, console = shown_by_rich(Maker(tmp_path, poison=POISON, llm="m", usd=None), width=400)
    display.phase(1, "training" + POISON, POISON)
    display.note(POISON)
    with console.capture() as captured:
        console.print(display.panel())
    display.close()
    assert "[bold red]x[/bold red]" in said
    assert controls(said) == set()
    assert controls(captured.get()) == set()
    assert "price unknown" in captured.get()


def test_time_left_follows_the_iterations_so_far(tmp_path: Path) -> None:
    now = [0.0]
    progress = Progress(lambda: now[0])
    lefts = []
    for key, kind, data, seconds in Maker(tmp_path).records():
        now[0] += seconds
        progress.add(Record(key, kind, data, "2026-01-01T00:00:00+00:00", seconds))
        if kind == "verdict":
            lefts.append(progress.left)
    assert lefts[0] == pytest.approx(8 * 23.0, rel=0.3)
    assert lefts[-1] is None
    assert all(a is None or b is None or b < a + 30 for a, b in itertools.pairwise(lefts))
    assert progress.elapsed == pytest.approx(now[0])


# Choosing, and the end card


def test_the_mode_decides(tmp_path: Path) -> None:
    stream = io.StringIO()
    quiet = make_display("none", stream)
    Maker(tmp_path).replay(quiet.record)
    quiet.note("nobody hears")
    quiet.close()
    assert stream.getvalue() == ""
    assert isinstance(make_display("auto", stream), PlainDisplay)
    with pytest.raises(ConfigError, match=r"display\.mode=fancy"):
        make_display("fancy", stream)


def card(history: History, folder: Path, resume: str = "") -> str:
    stream = io.StringIO()
    print_end_card(history, folder, resume=resume, stream=stream)
    return stream.getvalue()


def test_the_card_of_a_finished_run(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    said = card(History.read(Maker(folder).write()), folder, "improve run seed=1")
    for expected in (
        "3 of 8 changes (1 rejected, 2 within noise, 2 failed)", "0 USD (no language model)",
        "whose luck is not covered): the best pipeline is better",
        "3.4 minutes", "T3", f"improve predict '{folder}' IMAGES", f"{folder}/best", "run.html",
        "llm=offline is a rule-based expert, no language model",
    ):  # fmt: skip
        assert expected in said, expected
    assert "improve run seed=1" not in said  # nothing to resume
    assert "UNVERIFIED" not in said


def test_the_card_of_an_unfinished_run_names_the_command_that_resumes(tmp_path: Path) -> None:
    said = card(History.read(Maker(tmp_path).write("verdict-3")), tmp_path, "improve run seed=1")
    assert "not finished" in said
    assert "improve run seed=1" in said
    assert "67.1%" in said  # of the selection images, said to be so
    assert "improve predict" not in said
    assert "95% interval" in said


def test_the_card_warns_where_scores_cannot_be_believed(tmp_path: Path) -> None:
    said = card(History.read(Maker(tmp_path, verified=False, protocol="paper").write()), tmp_path)
    assert "UNVERIFIED" in said
    assert said.count(", unverified") == 2
    assert "protocol: paper (selected on the test set)" in said


def test_nothing_accepted_is_said_so(tmp_path: Path) -> None:
    story = tuple(step if i == 0 else replace(step, verdict="rejected") for i, step in enumerate(STORY))
    said = card(History.read(Maker(tmp_path, story=story).write()), tmp_path)
    assert "none of 8 changes" in said
    assert "No change was accepted: the first pipeline is the best one." in said


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_comparison_never_claims_more_than_its_interval(first: int, best: int) -> None:
    history = History.of([Record("run", "run", {"config": {}, "dataset": {}}, "", 0.0)])
    tests = [
        {"which": name, "iteration": n, "failure": None, "correct": c, "total": 400, "accuracy": c / 400}
        | dict(zip(("low", "high"), wilson(c, 400), strict=True))
        for n, (name, c) in enumerate((("first", first), ("best", best)))
    ]
    scored = replace(history, first_test=tests[0], best_test=tests[1])
    said, found = comparison(scored), gained(scored)
    assert found is not None
    assert found["low"] <= found["effect"] <= found["high"]
    assert ("the best pipeline is better" in said) == (found["low"] > 0)
    assert ("worse" in said) == (found["high"] < 0)
    assert "whose luck is not covered" in said  # one training each tells nothing of it
    if wilson(best, 400)[0] > wilson(first, 400)[1]:  # what separate intervals show, the one of the gain shows, too
        assert found["low"] > 0


def test_what_was_claimed_is_told_with_what_it_covers(tmp_path: Path) -> None:
    gain = {"effect": 0.021, "low": -0.01, "high": 0.052, "p_value": 0.16, "trainings": [3, 1]}
    whole = {**gain, "covers_training": True, "confidence": 0.95}
    claims = {"gain": whole, "components": {"model": gain, "data": gain}}
    ensemble = {"iteration": 6, "members": [0, 1, 2], "accuracy": 0.85, "low": 0.84, "high": 0.86}
    history = replace(History.read(Maker(tmp_path).write()), claims=claims, ensemble=ensemble)
    said = card(history, tmp_path)
    assert "+2.1 percentage points (95% interval -1.0 to +5.2, over images and training seeds: 3 trainings" in said
    assert "against 1): the difference may be luck" in said
    assert "model +2.1 (-1.0 to +5.2), data +2.1 (-1.0 to +5.2) points on the selection images" in said
    assert "85.0% accuracy, 95% interval 84.0–86.0%: the mean of 3 trainings, as delivered" in said
