"""Servers that do not take what is sent: their own words, the key that mends it, and what is left out from then on."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.errors import ConfigError, LLMError
from improve.llm.backend import Question
from improve.llm.client import Client
from improve.llm.library import load
from improve.llm.manners import Manners, refused
from tests.support.models import live_models
from tests.support.scripted_llm import Answer, Asked, ScriptedServer, completion, error, played, serving

PROMPT = Prompt("You are the Performance Analyst of IMPROVE.\n", "Answer in JSON.\n")
SCHEMA = {"title": "Reply", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    load()


def client(base: str, **changes: Any) -> Client:
    values: dict[str, Any] = {
        "name": "local", "model": "scripted", "api_base": base, "temperature": 0.7,
        "timeout_seconds": 5.0, "retry_seconds": 900.0, "retry_wait_seconds": 0.01,
    }  # fmt: skip
    return Client(LLMConfig(**{**values, **changes}), seed=0)


def fastapi(name: str) -> Answer:
    """As FastAPI says it, with all that was sent repeated."""
    wrong = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 0}
    return Answer(json.dumps({"detail": [wrong]}).encode(), 422)


def openai(name: str) -> Answer:
    said = {"message": f"Unsupported parameter: '{name}' is not supported with this model.", "param": name}
    return Answer(json.dumps({"error": {**said, "code": "unsupported_parameter"}}).encode(), 400)


REFUSALS = [
    openai,
    fastapi,
    lambda name: error(400, f"Unrecognized request argument supplied: {name}"),
    lambda name: error(400, f"`{name}` does not support 0.7 with this model. Only the default (1) value is supported."),
    lambda name: error(500, f"TypeError: generate() got an unexpected keyword argument '{name}'"),
    lambda name: Answer(json.dumps({"error": f"unknown field: {name}"}).encode()),
    lambda name: Answer(
        json.dumps({"object": "error", "message": f"{name} is not allowed", "code": 400}).encode(), 400
    ),
]


@pytest.mark.parametrize(
    "refusal", REFUSALS, ids=["openai", "fastapi", "argument", "value", "500", "under-200", "vllm"]
)
@pytest.mark.parametrize("name", ["seed", "temperature", "max_tokens", "top_p"])
def test_what_is_refused_by_name_is_left_out_once_and_for_all(name: str, refusal: Any) -> None:
    def script(asked: Asked) -> str | Answer:
        return refusal(name) if name in asked.body else "ready"

    told: list[str] = []
    with serving(script) as server:
        one = client(server.base, parameters={"top_p": 0.5})
        one.learnt = lambda manners, said: told.append(said)
        started = time.monotonic()
        assert one.ask(PROMPT).text == "ready"
        assert time.monotonic() - started < 20
        assert one.ask(PROMPT).text == "ready"
    assert [name in asked.body for asked in server.asked] == [True, False, False]
    others = {"seed", "temperature", "max_tokens", "top_p"} - {name}
    assert all(others - {"max_tokens"} <= set(asked.body) for asked in server.asked)
    assert len(told) == 1
    assert name in told[0]
    key = {"seed": "llm.send_seed=false", "temperature": "llm.temperature=null"}.get(name, "")
    assert key in told[0]


@pytest.mark.parametrize(
    "refusal",
    [
        error(500, "System role not supported"),
        error(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        error(400, "Developer instruction is not enabled for models/gemma-3"),
        error(
            422, "messages[0].role: unknown variant `system`, expected `user` or `assistant`; 'system' is not supported"
        ),
    ],
)
def test_a_model_without_a_system_role_gets_its_text_before_the_users(refusal: Answer) -> None:
    def script(asked: Asked) -> str | Answer:
        return refusal if asked.body["messages"][0]["role"] == "system" else "ready"

    with serving(script) as server:
        assert client(server.base).ask(PROMPT).text == "ready"
    assert [message["role"] for message in server.asked[-1].body["messages"]] == ["user"]
    text = server.asked[-1].body["messages"][0]["content"]
    assert text.index(PROMPT.system) < text.index(PROMPT.user)
    with serving(script) as server:
        client(server.base, system_role=False).ask(PROMPT)
    assert len(server.asked) == 1


def test_the_output_limit_gets_its_other_name_before_it_is_left_out() -> None:
    def script(asked: Asked) -> str | Answer:
        if "max_tokens" in asked.body:
            said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            return error(400, said)
        return "ready"

    with serving(script) as server:
        client(server.base).ask(PROMPT)
        client(server.base, limit_parameter="max_completion_tokens").ask(PROMPT)
        client(server.base, limit_parameter="none").ask(PROMPT)
    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 8192, 8192, None]


def test_a_context_that_the_server_names_leaves_room_for_the_prompt() -> None:
    def script(asked: Asked) -> str | Answer:
        if asked.body["max_tokens"] > 4080:
            return error(400, "This model's maximum context length is 4096 tokens. Reduce max_tokens.")
        return "ready"

    with serving(script) as server:
        assert client(server.base).ask(PROMPT).text == "ready"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("max_tokens is too large: 9000", (), None),
        ("max_tokens must be at most 4096", (), None),
        ("unknown parameter 'seeds'", (), None),
        ("seed: extra inputs are not permitted (temperature)", ("temperature",), "temperature"),
        ("Unsupported value: 'temperature' does not support 0.7", (), "temperature"),
        ("the model is overloaded", (), None),
    ],
)
def test_only_a_refusal_of_the_parameter_itself_counts(text: str, names: tuple[str, ...], found: str | None) -> None:
    assert refused(text, names, ("seed", "temperature", "max_tokens", "system")) == found


def failing(answer: Answer, path: str = "/v1", **changes: Any) -> tuple[str, ScriptedServer, float]:
    with played(answer) as server:
        started = time.monotonic()
        with pytest.raises(LLMError) as raised:
            client(server.base.replace("/v1", path), **changes).ask(PROMPT)
        return str(raised.value), server, time.monotonic() - started


@pytest.mark.parametrize(
    ("answer", "path", "says"),
    [
        (error(404, "Not Found"), "", "404: Not Found.*\n.*llm.api_base=http://127.0.0.1:[0-9]+/v1"),
        (Answer(b'{"detail":"Not Found"}', 404), "/api", "404: Not Found.*\n.*api_base=http://127.0.0.1:[0-9]+/v1"),
        (Answer(b'{"detail":"Method Not Allowed"}', 405), "", "405: Method Not Allowed"),
        (
            Answer(b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}'),
            "",
            "Unexpected endpoint.*\n.*/v1",
        ),
        (Answer(b"<html>Open WebUI</html>", headers={"Content-Type": "text/html"}), "", "for people.*\n.*/v1"),
        (Answer(b"Ollama is running"), "", "for people.*\n.*/v1"),
        (Answer(b'{"status": "ok"}'), "", "no reply of a model.*\n.*/v1"),
        (
            Answer(b'{"error": {"message": "model \'x\' not found, pull it first", "code": 404}}'),
            "/v1",
            "pull it first",
        ),
        (Answer(b'{"error": {"message": "Invalid API key", "code": 401}}'), "/v1", "401: Invalid API key"),
        (Answer(b'{"object": "error", "message": "The model `x` does not exist.", "code": 40401}'), "/v1", "llm.model"),
        (Answer(b'{"status": "error", "message": "Invalid API key"}'), "/v1", "400: Invalid API key.*\n.*the key in"),
        (Answer(b'{"code": 1113, "msg": "account in arrears", "success": false}'), "/v1", "in arrears.*\n.*add credit"),
        (Answer(b'{"error": "not implemented"}', 501), "/v1", "501: not implemented"),
        (error(400, "unknown field: response_format"), "/v1", "llm.structured=text"),
        (Answer(b"Request Entity Too Large", 413), "/v1", "413.*\n.*client_max_body_size"),
        (error(400, "max_tokens must be at most 4096"), "/v1", "llm.max_output_tokens=4096"),
        (error(400, "Bad Request"), "/v1", "Bad Request.*\n.*llm.send_seed=false"),
    ],
)
def test_what_cannot_pass_is_said_at_once_in_the_servers_words(answer: Answer, path: str, says: str) -> None:
    import re

    said, server, seconds = failing(answer, path)
    assert re.search(says, said), said
    assert len(server.asked) <= 3
    assert seconds < 20


@pytest.mark.parametrize(
    "fault",
    [
        Answer(b'{"error": {"message": "Rate limit reached", "code": 429}}'),
        Answer(b'{"error": {"message": "The engine is overloaded, try again later"}}'),
        Answer(b'{"error": {"message": "Upstream error", "code": 502}}'),
        Answer(b'{"choices": [{"error": {"message": "Provider returned error", "code": 503}}]}'),
    ],
)
def test_an_error_under_200_that_may_pass_is_tried_again(fault: Answer) -> None:
    with played(fault, "ready") as server:
        reply = client(server.base).ask(PROMPT)
    assert reply.text == "ready"
    assert sum(reply.retries.values()) == 1


def test_a_refusal_whose_words_never_come_is_asked_again() -> None:
    refusal = error(400, "Bad Request")
    with played(replace(refusal, stall=3.0), "ready") as server:
        reply = client(server.base, timeout_seconds=1.0).ask(PROMPT)
    assert reply.text == "ready"
    assert sum(reply.retries.values()) == 1


def test_a_page_of_maintenance_is_waited_for_once_the_server_has_answered() -> None:
    page = Answer(b"<html>maintenance</html>", headers={"Content-Type": "text/html"})
    with played("ready", page, page, page, page, "again") as server:
        one = client(server.base)
        assert [one.ask(PROMPT).text for _ in range(2)] == ["ready", "again"]


def test_a_server_without_tls_is_no_outage() -> None:
    with played("ready") as server, pytest.raises(LLMError, match=r"does not speak TLS(.|\n)*http://"):
        client(server.base.replace("http:", "https:")).ask(PROMPT)


def test_the_address_of_one_call_is_no_address_of_an_api() -> None:
    with pytest.raises(ConfigError, match=r"llm\.api_base=http://h:1/v1$"):
        check(config_from(["llm=local", "llm.api_base=http://h:1/v1/chat/completions"]))


def test_what_was_learnt_is_noted_and_known_to_the_next_session() -> None:
    def script(asked: Asked) -> str | Answer:
        if "seed" in asked.body:
            return openai("seed")
        return error(400, "response_format is not supported") if "response_format" in asked.body else '{"a": 1}'

    notes: list[dict[str, Any]] = []
    question = Question("analyst", 1, 0, PROMPT, SCHEMA)
    with serving(script) as server:
        config = config_from(["llm=local", f"llm.api_base={server.base}"])
        first = live_models(config)
        first.remember([], notes.append)
        first.ask(question, lambda text: None)
        assert len(server.asked) == 4  # seed, json_schema, json_object
        second = live_models(config)
        second.remember(json.loads(json.dumps(notes)), notes.append)
        second.ask(question, lambda text: None)
        assert len(server.asked) == 5
    assert len(notes) == 3
    assert Manners.from_record(notes[-1]["manners"]).without == ("seed",)
    assert "llm.send_seed=false" in notes[0]["said"]


# ---------------------------------------------------------------------- prompts that are cut


@pytest.mark.parametrize(
    ("characters", "read", "cut"),
    [
        (40_000, 2048, True),  # far below
        (20_000, 4096, True),  # to the last token of a context
        (20_000, 4097, False),
        (40_000, 10_000, False),
        (14_000, 4096, False),  # as many as it has
        (40_000, 0, False),  # nobody counted
    ],
)
def test_a_prompt_that_was_cut_is_told_with_the_setting(characters: int, read: int, cut: bool) -> None:
    usage = {"prompt_tokens": read, "completion_tokens": 5, "total_tokens": read + 5}
    with played(completion("ready", usage=usage)) as server:
        one = client(server.base)
        said = one.ask(Prompt("You are.\n", "x" * characters)).said
    assert bool(said) == cut
    assert not cut or ("num_ctx" in said and f"{read:,}" in said)
