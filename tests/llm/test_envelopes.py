"""Replies in other envelopes than OpenAI's: all were paid, so all are read, and none is asked for again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from improve.agents.parsing import Proposal, component_source, json_object
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.llm.client import Client, Reply
from improve.llm.library import load
from tests.support.scripted_llm import Answer, ScriptedServer, completion, played

PROMPT = Prompt("You are the Performance Analyst of IMPROVE.\n", "Answer in JSON.\n")
SCHEMA = {"title": "Reply", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CODE = "```python\n# model.py\nx = 1\n```"


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    load()


def client(server: ScriptedServer, **changes: Any) -> Client:
    values: dict[str, Any] = {
        "name": "local", "model": "scripted", "api_base": server.base,
        "timeout_seconds": 5.0, "retry_seconds": 5.0, "retry_wait_seconds": 0.01,
    }  # fmt: skip
    return Client(LLMConfig(**{**values, **changes}), seed=0)


def ask(*answers: Answer, schema: bool = False, **changes: Any) -> tuple[Reply, ScriptedServer]:
    with played(*answers) as server:
        return client(server, **changes).ask(PROMPT, SCHEMA if schema else None), server


def message(**fields: Any) -> Answer:
    return completion(None, message={"role": "assistant", **fields})


def body(**values: Any) -> Answer:
    return Answer(json.dumps(values).encode())


def events(*values: Any, end: str = "data: [DONE]\n\n") -> Answer:
    text = "".join(f"data: {json.dumps(value)}\n\n" for value in values)
    return Answer((text + end).encode(), headers={"Content-Type": "text/event-stream"})


def piece(text: str, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, **fields}]}


TEXT = {"type": "text", "text": "ready"}


@pytest.mark.parametrize(
    "answer",
    [
        message(content=[{"type": "thinking", "thinking": "hm"}, TEXT]),
        message(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, TEXT]),
        message(content=[{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "ready"}]),
        message(content=["rea", "dy"]),
        message(content=[{"type": "text", "text": {"value": "ready"}}]),
        message(content="ready", reasoning_content="hm"),
        message(content="ready", reasoning="hm"),
        body(choices=[{"text": "ready", "finish_reason": "stop"}]),
        body(message={"role": "assistant", "content": "ready"}, done=True, done_reason="stop"),
        body(response="ready", done=True),
        body(type="message", role="assistant", content=[TEXT], stop_reason="end_turn"),
        body(output=[{"type": "reasoning", "content": []}, {"type": "message", "content": [TEXT]}]),
        Answer(json.dumps([{"generated_text": "ready"}]).encode()),
        body(candidates=[{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "ready"}]}}]),
        body(code=0, message="ok", data=json.loads(completion("ready").body)),
        body(success=True, errors=[], result={"response": "ready"}),
        body(output={"text": "ready", "finish_reason": "stop"}, request_id="1"),
        body(output={"choices": [{"message": {"content": [{"text": "ready"}]}, "finish_reason": "stop"}]}),
        completion(None, choices={"0": {"message": {"content": "ready"}}}),
        completion(None, choices=[{"message": {"content": ""}}, {"message": {"content": "ready"}}]),
        events(piece("rea"), piece("dy", finish_reason="stop")),
        events(piece("rea"), piece("dy")),
        Answer(b'{"message":{"content":"rea"}}\n{"message":{"content":"dy"},"done":true,"done_reason":"stop"}\n'),
    ],
    ids=[
        "parts", "nested-thoughts", "responses-parts", "list-of-text", "text-object", "reasoning-content", "reasoning",
        "completions", "ollama-chat", "ollama-generate", "anthropic", "responses", "tgi", "gemini", "in-data",
        "in-result", "in-output", "choices-in-output", "choices-by-number", "second-choice", "stream", "stream-no-end",
        "ollama-stream",
    ],
)  # fmt: skip
def test_other_envelopes_are_read_at_the_first_asking(answer: Answer) -> None:
    reply, server = ask(answer)
    assert (reply.text, reply.finish_reason) == ("ready", "stop")
    assert len(server.asked) == 1
    assert (reply.retries, reply.unread) == ({}, 0)


def test_a_stream_that_breaks_off_counts_as_cut_off() -> None:
    assert ask(events(piece("half"), end=""))[0].finish_reason == "length"


@pytest.mark.parametrize(
    "answer",
    [
        message(content=None, reasoning_content='Let me see. {"a": 1}'),
        message(content="", reasoning='{"a": 1}'),
        message(content={"a": 1}),
        message(content=None, tool_calls=[{"id": "1", "type": "function", "function": {"arguments": '{"a": 1}'}}]),
    ],
    ids=["reasoning-content", "reasoning", "object", "tool-call"],
)
def test_an_answer_in_json_is_found_where_servers_put_it(answer: Answer) -> None:
    reply, server = ask(answer, schema=True)
    assert json.loads(reply.text) == {"a": 1}
    assert len(server.asked) == 1


def test_code_that_was_taken_for_thoughts_is_the_answer() -> None:
    reply, _ = ask(message(content=None, reasoning_content=f"Here it is.\n{CODE}"))
    assert component_source(reply.text, "model") == "# model.py\nx = 1\n"


@pytest.mark.parametrize("answer", [completion(""), completion(" \n" * 50, finish_reason="length")])
def test_a_server_that_gives_nothing_for_a_schema_is_asked_in_a_simpler_way_the_next_time(answer: Answer) -> None:
    with played(answer, answer, completion('{"a": 1}')) as server:
        one = client(server)
        replies = [one.ask(PROMPT, SCHEMA) for _ in range(3)]
    formats = [(asked.body.get("response_format") or {}).get("type") for asked in server.asked]
    assert formats == ["json_schema", "json_object", None]
    assert [reply.tokens["input"] for reply in replies] == [100, 100, 100]  # each paid call is counted
    assert json.loads(replies[-1].text) == {"a": 1}


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("<think>", "</think>"),
        ("", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_thoughts_in_the_text_are_no_part_of_the_answer(begins: str, ends: str) -> None:
    draft = "```python\n# model.py\nx = 0\n```"
    assert component_source(f"{begins}Perhaps\n{draft}\nno.{ends}\n\n{CODE}", "model") == "# model.py\nx = 1\n"
    answer = '{"component": "model", "feedback": "wider"}'
    thought = '{"component": "data", "feedback": "more"}'
    assert json_object(f"{begins}{thought}{ends}{answer}", Proposal).component == "model"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"usage": {"input_tokens": 7, "output_tokens": 3}}, (7, 3)),
        ({"usage": {"prompt_tokens": 7.0, "completion_tokens": None}}, (7, 0)),
        ({"prompt_eval_count": 7, "eval_count": 3}, (7, 3)),
        ({"usage": None}, (0, 0)),
        ({"usage": "many"}, (0, 0)),
        ({}, (0, 0)),
    ],
)
def test_usage_is_read_by_any_of_its_names(usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    reply, server = ask(body(choices=[{"message": {"content": "x"}}], **usage))
    assert (reply.tokens["input"], reply.tokens["output"]) == tokens
    assert reply.text == "x"
    assert len(server.asked) == 1


PRICED = {"usd_per_million_input": 1.0, "usd_per_million_output": 10.0, "max_output_tokens": 1000}
TORN = Answer(b'{"choices": [{"message": {"content": "half')


def test_replies_that_break_off_are_counted_at_their_worst_case() -> None:
    reply, server = ask(TORN, TORN, completion("ready"), **PRICED)
    assert (reply.text, reply.unread, reply.retries) == ("ready", 2, {"200": 2})
    assert (reply.tokens["input"], reply.tokens["output"]) == (300, 50 + 2 * 1000)
    assert reply.usd == pytest.approx((300 * 1 + 2050 * 10) / 1e6)
    assert len(server.asked) == 3


def test_no_more_than_three_of_them_are_paid() -> None:
    reply, server = ask(TORN, **PRICED)
    assert (reply.finish_reason, reply.unread) == ("unreadable", 3)
    assert len(server.asked) == 3
    assert reply.tokens["output"] == 3000
    assert reply.usd is not None
    assert reply.usd > 0.03


def test_a_gateways_page_is_no_reply_and_costs_nothing() -> None:
    page = Answer(b"<html>down</html>", headers={"Content-Type": "text/html"})
    reply, _ = ask(page, page, completion("ready"), **PRICED)
    assert (reply.unread, reply.tokens["input"]) == (0, 100)
