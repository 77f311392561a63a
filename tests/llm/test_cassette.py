"""Cassettes: a run's replies as a file, found again by prompt or by step; errors in words where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.cli import main
from improve.domain import Prompt
from improve.errors import LLMError
from improve.llm import cassette
from improve.llm.backend import Question
from improve.llm.cassette import Call, Cassette, Recorded
from improve.llm.replay import Replay
from improve.record.history import History
from improve.record.journal import JOURNAL, Journal
from tests.support.made_run import Maker

RECORDED = Recorded(settings={"seed": 0, "dataset.name": "digits"}, improve="0.1.0", hardware="2 CPU cores")


def call(role: str, iteration: int, order: int = 0, request: str = "", reply: str = "") -> Call:
    tokens = {"input": 1, "cached": 0, "reasoning": 0, "output": 1}
    lines = tuple((reply or f"{role} {iteration} {order}").split("\n"))
    return Call(
        role=role, iteration=iteration, order=order, model="a/model", request=request or f"{role}{iteration}{order}",
        finish_reason="stop", tokens=tokens, reply=lines,
    )  # fmt: skip


def made(*calls: Call) -> Cassette:
    return Cassette(model="a/model", licence="Apache-2.0", recorded=RECORDED, calls=calls)


@pytest.mark.parametrize(
    ("asked", "by", "text"),
    [
        (("analyst", 2, 0, "analyst20"), "request", "analyst 2 0"),
        (("analyst", 2, 0, "same"), "request", "nearest"),
        (("analyst", 2, 0, "other"), "step", "analyst 2 0"),
        (("model_engineer", 2, 1, "other"), "step", "a repair"),
        (("model_engineer", 2, 2, "other"), None, ""),
        (("architect", 0, 0, "analyst20"), None, ""),
    ],
    ids=["same prompt", "same prompt elsewhere", "another prompt", "repair", "no such step", "another role's prompt"],
)
def test_the_same_prompt_comes_first_then_the_step(asked: tuple[Any, ...], by: str | None, text: str) -> None:
    tape = made(
        call("analyst", 9, request="same", reply="farthest"),
        call("analyst", 1, request="same", reply="nearest"),
        call("analyst", 2),
        call("model_engineer", 2),
        call("model_engineer", 2, 1, reply="a repair"),
    )
    found = tape.find(*asked)
    assert (found.by if found else None) == by
    assert (found.call.text if found else "") == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_reply_is_kept_exactly(text: str) -> None:
    tape = made(call("analyst", 1, reply="x").model_copy(update={"reply": tuple(text.split("\n"))}))
    again = Cassette.model_validate_json(json.dumps(tape.model_dump(mode="json"), ensure_ascii=False))
    assert again == tape
    assert again.calls[0].text == text


def test_the_command_makes_a_small_file_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = Maker(tmp_path / "run", llm="gpt-4o", usd=0.01).write(), tmp_path / "tape.json"
    assert main(["cassette", str(run), "-o", str(file), "--licence", "CC0", "--note", "made up"]) == 0
    assert "32 replies of gpt-4o/expert" in capsys.readouterr().out
    tape = cassette.read(file)
    assert (tape.licence, tape.note, tape.last_iteration) == ("CC0", "made up", 8)
    assert [c.text for c in tape.calls] == [c["reply"] for c in History.read(run).calls]
    assert cassette.read(run).calls == cassette.read(run / JOURNAL).calls == tape.calls
    lines = file.read_text().splitlines()
    assert '    "class Model(ImageClassifier):",' in lines  # a person can read it, line by line
    assert "dataset card" not in file.read_text()  # no prompts


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no cassette at"),
        (b"", "is no cassette"),
        (b"\xff\xfe", "is no cassette: it is not text"),
        (b'{"calls": []}', "is no cassette: model: Field required"),
        (made().model_dump_json().encode(), "holds no reply"),
        (made(call("analyst", 0)).model_dump_json().replace("version 1", "version 7").encode(), "has the format"),
    ],
    ids=["missing", "empty", "binary", "other JSON", "no calls", "later version"],
)
def test_what_is_no_cassette_is_said_in_a_sentence(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LLMError, match=says) as error:
        Replay(str(path))
    assert error.value.fix


def test_a_folder_without_a_run_is_no_cassette(tmp_path: Path) -> None:
    with pytest.raises(LLMError, match="holds no run"):
        Replay(str(tmp_path))
    Journal(tmp_path).close()
    with pytest.raises(LLMError, match="holds no run yet"):
        Replay(str(tmp_path))


@pytest.fixture
def tape(tmp_path: Path) -> str:
    path = tmp_path / "tape.json"
    made(call("architect", 0), call("summarizer", 0), call("analyst", 1)).write(path)
    return str(path)


def test_a_cassette_that_is_too_short_is_refused_before_the_run_and_named_in_it(tape: str) -> None:
    replay = Replay(tape)
    replay.check(1)
    with pytest.raises(LLMError, match=r"strategy\.iterations=2, but the cassette .* ends with iteration 1") as error:
        replay.check(2)
    assert error.value.fix == "use strategy.iterations=1"
    with pytest.raises(LLMError, match="no reply for the model engineer's call in iteration 1"):
        replay.ask(Question("model_engineer", 1, 0, Prompt("", "")), print)


def test_a_replay_costs_nothing_and_says_what_differs(tape: str) -> None:
    replay = Replay(tape)
    question = Question("analyst", 1, 0, Prompt("a system", "a prompt"))
    answer = replay.ask(question, print)
    assert (answer.reply.text, answer.reply.usd, answer.replay, answer.model) == ("analyst 1 0", 0.0, "step", "a/model")
    assert answer.reply.tokens["input"] == 1
    assert replay.most(question).usd == 0
    notes = replay.notes({"seed": 3, "dataset": {"name": "digits"}})
    assert notes[0].startswith("llm=replay gives the recorded replies of the model a/model, again")
    assert "seed=0" in notes[1]
    assert "dataset.name" not in notes[1]
    assert len(replay.notes({"seed": 0, "dataset": {"name": "digits"}})) == 1


def test_what_was_replayed_is_said_on_the_card_and_the_page(tmp_path: Path) -> None:
    from improve.display.card import card_rows
    from improve.report import write_run_page

    class Replayed(Maker):
        def _call(self, role: str, number: int, attempt: int) -> tuple[str, str, dict[str, Any], float]:
            key, kind, data, seconds = super()._call(role, number, attempt)
            by = "step" if role == "analyst" else "request"
            return key, kind, {**data, "replay": by}, seconds

    folder = Replayed(tmp_path / "run", llm="replay", usd=0.0).write()
    said = "24 of 32 replies found by the same prompt, 8 by role and step, because the prompt differed"
    assert any(said in row.text for row in card_rows(History.read(folder), folder))
    assert said in write_run_page(folder).read_text()
