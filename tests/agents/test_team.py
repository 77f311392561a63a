"""Asking again: what cannot be read is quoted back, what was cut off gets one more try, what was declined none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from improve.agents.brief import Brief
from improve.agents.prompts import PromptSet
from improve.agents.team import Assignment, NoUsableReply, Team
from improve.config.compose import config_from
from improve.domain import Reason
from improve.record.journal import JOURNAL, Journal, read
from tests.support import components
from tests.support.models import live_models
from tests.support.scripted_llm import Answer, ScriptedServer, completion, error, played

GOOD = components.fenced(training=components.training())
SOURCES = {"data": components.DATA, "model": components.model(), "training": components.training()}

EMPTY = {"card": "", "context": "", "history": "", "log": "", "sources": {}, "all_components": False}


@contextmanager
def team(folder: Path, *answers: str | Answer) -> Iterator[tuple[Team, ScriptedServer]]:
    with played(*answers) as server:
        config = config_from(["llm=local", f"llm.api_base={server.base}", "llm.retry_wait_seconds=0.01"])
        journal = Journal(folder)
        brief = Brief("name: x\n", "threads: 1\n")
        yield Team(live_models(config), PromptSet("improve"), journal, folder, brief, lambda *_: None), server
        journal.close()


def last_prompt(server: ScriptedServer) -> str:
    return server.requests[-1][1]


@pytest.mark.parametrize(
    ("bad", "quoted"),
    [
        ("Here you are.", "found 0"),
        (components.fenced(model=components.model()), "the block is model.py"),
        (completion(""), "found 0"),
        (completion("import tor", finish_reason="length"), "cut off at the output limit"),
        ("```python\nimport torch\n", "not closed"),
    ],
    ids=["prose", "wrong-component", "empty", "cut-off", "unclosed"],
)
def test_a_re_ask_quotes_the_problem_and_says_what_is_expected(tmp_path: Path, bad: str | Answer, quoted: str) -> None:
    with team(tmp_path, bad, GOOD) as (one, server):
        assert "batch_size = 64" in one.engineer("training", 1, SOURCES, Assignment(feedback="go"))
    assert len(server.asked) == 2
    assert quoted in last_prompt(server)
    assert "Expected: one fenced python block with the whole training.py" in last_prompt(server)


@pytest.mark.parametrize(
    ("bad", "calls", "reason"),
    [
        ("Here you are.", 3, Reason.REPLY),
        (completion("```python\nimport tor", finish_reason="length"), 2, Reason.REPLY),
        ("```python\nimport tor", 2, Reason.REPLY),
        (error(400, "content management policy", "content_filter"), 1, Reason.REFUSED),
        (completion("", finish_reason="content_filter"), 1, Reason.REFUSED),
        (error(400, "maximum context length is 8192", "context_length_exceeded"), 1, Reason.REFUSED),
    ],
    ids=["unreadable", "cut-off", "unclosed", "filter-400", "filter", "context"],
)
def test_after_so_many_calls_an_iteration_fails(tmp_path: Path, bad: str | Answer, calls: int, reason: Reason) -> None:
    with team(tmp_path, bad) as (one, server), pytest.raises(NoUsableReply) as raised:
        one.engineer("training", 1, SOURCES, Assignment(feedback="go"))
    assert (len(server.asked), raised.value.failure.reason) == (calls, reason)
    records = read(tmp_path / JOURNAL)[0]
    assert [record.data["attempt"] for record in records] == list(range(calls))
    assert len(list((tmp_path / "calls").iterdir())) == calls


def test_a_retry_of_the_wire_is_no_re_ask(tmp_path: Path) -> None:
    with team(tmp_path, error(529, "Overloaded"), Answer(reset=True), GOOD) as (one, server):
        one.engineer("training", 1, SOURCES, Assignment(feedback="go"))
    assert len(server.asked) == 3
    assert len(read(tmp_path / JOURNAL)[0]) == 1


def test_the_analyst_is_held_to_the_schema(tmp_path: Path) -> None:
    good = json.dumps({"component": "data", "diagnosis": "d", "feedback": "f"})
    refusal = error(400, "response_format of type json_schema is not supported")
    with team(tmp_path, refusal, "I would change the optimizer.", good) as (one, server):
        assert one.analyst(1, "[]\n", "[]\n", SOURCES).component == "data"
    formats = [asked.body["response_format"] for asked in server.asked]
    assert [sent["type"] for sent in formats] == ["json_schema", "json_object", "json_object"]
    schema = formats[0]["json_schema"]["schema"]
    assert schema["properties"]["component"]["enum"] == ["data", "model", "training"]
    assert schema["required"] == ["component", "diagnosis", "feedback"]
    assert schema["additionalProperties"] is False
    assert 'Expected: one JSON object and nothing else: {"component": "data" or "model" or' in last_prompt(server)


def test_a_change_that_was_rejected_is_not_tried_again_word_for_word(tmp_path: Path) -> None:
    same = json.dumps({"component": "model", "diagnosis": "d", "feedback": "more layers"})
    other = json.dumps({"component": "data", "diagnosis": "d", "feedback": "more layers"})
    with team(tmp_path, same, other) as (one, server):
        proposal = one.analyst(
            2, "[]\n", "[]\n", SOURCES, {("model", "more layers"): "was tried in iteration 1 and rejected"}
        )
        assert proposal.component == "data"
    assert "was tried in iteration 1 and rejected" in last_prompt(server)
    assert "best for data or training" in last_prompt(server)


def test_feedback_that_is_copied_from_the_form_is_asked_for_again(tmp_path: Path) -> None:
    form = re.findall(r'"feedback": "(.+)"}', PromptSet("improve").render("analyst", **EMPTY).user)[-1]
    copied = json.dumps({"component": "model", "feedback": form})
    good = json.dumps({"component": "model", "feedback": "64 channels"})
    with team(tmp_path, copied, good) as (one, server):
        assert one.analyst(1, "[]", "{}", SOURCES).feedback == "64 channels"
    assert "copied from the form" in last_prompt(server)


def test_a_model_that_insists_on_a_rejected_change_has_its_way(tmp_path: Path) -> None:
    same = json.dumps({"component": "model", "diagnosis": "d", "feedback": "more layers"})
    with team(tmp_path, same, same, same) as (one, server):
        proposal = one.analyst(
            2, "[]\n", "[]\n", SOURCES, {("model", "more layers"): "was tried in iteration 1 and rejected"}
        )
    assert proposal.component == "model"
    assert len(server.asked) == 3


def test_that_prompts_are_cut_is_told_once_also_by_a_resumed_run(tmp_path: Path) -> None:
    cut = completion(GOOD, usage={"prompt_tokens": 50, "completion_tokens": 50, "total_tokens": 100})
    for calls in (1, 2, 3):
        with team(tmp_path, cut) as (one, server):
            for number in range(calls):
                one.engineer("training", number, SOURCES, Assignment(feedback="go"))
        assert len(server.asked) == 1
    told = [bool(record.data["said"]) for record in read(tmp_path / JOURNAL).records]
    assert told == [True, False, False]
