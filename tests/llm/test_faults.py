"""Every fault that a provider can cause, played by a real server on loopback: retried, stopped, or given up."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.errors import LLMError
from improve.llm.client import Client, Reply
from improve.llm.library import load
from improve.llm.wire import MAX_BODY
from tests.support.scripted_llm import (
    Answer,
    Asked,
    ScriptedServer,
    claude,
    claude_error,
    completion,
    error,
    played,
    serving,
)

PROMPT = Prompt("You are the Performance Analyst of IMPROVE.\n", "Answer in JSON.\n")
SCHEMA = {"title": "Reply", "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OVERLOADED = error(529, "Overloaded", "overloaded_error")
CANARY = "sk-canary-0123456789abcdef"


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """litellm takes seconds to import: not in a test that measures time."""
    load()


def client(server: ScriptedServer, **changes: Any) -> Client:
    values: dict[str, Any] = {
        "name": "local",
        "model": "scripted",
        "api_base": server.base,
        "timeout_seconds": 5.0,
        "retry_seconds": 5.0,
        "retry_wait_seconds": 0.01,
    }
    return Client(LLMConfig(**{**values, **changes}), seed=0)


def ask(*answers: str | Answer, **changes: Any) -> tuple[Reply, ScriptedServer]:
    with played(*answers) as server:
        return client(server, **changes).ask(PROMPT), server


def refused(*answers: str | Answer, **changes: Any) -> tuple[str, ScriptedServer]:
    with played(*answers) as server, pytest.raises(LLMError) as raised:
        client(server, **changes).ask(PROMPT)
    return str(raised.value), server


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("CANARY_API_KEY", CANARY)
    return CANARY


# ---------------------------------------------------------------------- what passes


@pytest.mark.parametrize(
    "fault",
    [
        error(429, "Rate limit reached"),
        error(500, "The server had an error"),
        error(502, "Bad gateway"),
        error(503, "Unavailable"),
        OVERLOADED,
        Answer(reset=True),
        Answer(b"<html>down for maintenance</html>", headers={"Content-Type": "text/html"}),
        Answer(b'{"choices": [{"message": {"content": "half'),
        Answer(b"<html>gateway</html>", status=504, headers={"Content-Type": "text/html"}),
    ],
    ids=["429", "500", "502", "503", "529", "reset", "html-200", "malformed-json", "html-504"],
)
def test_what_passes_is_tried_again(fault: Answer) -> None:
    reply, server = ask(fault, fault, "ready")
    assert (reply.text, reply.finish_reason) == ("ready", "stop")
    assert len(server.asked) == 3


def test_a_body_that_stalls_is_given_up_after_the_timeout() -> None:
    whole = completion("late")
    reply, server = ask(Answer(whole.body, stall=30), "ready", timeout_seconds=0.4)
    assert reply.text == "ready"
    assert server.asked[1].at - server.asked[0].at < 2


def test_a_body_that_drips_is_given_up_after_the_timeout_as_a_whole() -> None:
    reply, server = ask(Answer(completion("late").body, drip=0.1), "ready", timeout_seconds=0.5)
    assert reply.text == "ready"
    assert server.asked[1].at - server.asked[0].at < 2


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "1"},
        {"retry_after_ms": "900"},
        {"retry_after": "date"},
    ],
    ids=["seconds", "milliseconds", "date"],
)
def test_retry_after_is_honoured(headers: dict[str, str]) -> None:
    if headers.get("retry_after") == "date":
        # HTTP dates have no fractions: 2 seconds ahead is 1 to 2 from now.
        headers = {"retry_after": email.utils.formatdate(time.time() + 2, usegmt=True)}
    reply, server = ask(error(429, "slow down", **headers), "ready")
    assert reply.text == "ready"
    assert 0.85 <= server.asked[1].at - server.asked[0].at < 3


def test_no_wait_ends_after_the_cap() -> None:
    started = time.monotonic()
    said, server = refused(error(429, "slow down", retry_after="3600"))
    assert time.monotonic() - started < 3
    assert len(server.asked) == 1
    assert "asks to wait 3600 s" in said
    assert "llm.retry_seconds=5" in said


def test_the_cap_holds_for_all_tries_together() -> None:
    started = time.monotonic()
    said, server = refused(OVERLOADED, retry_seconds=1.0, retry_wait_seconds=0.2)
    assert 0.2 < time.monotonic() - started < 2.5
    assert 2 <= len(server.asked) <= 6
    assert "529" in said
    assert "resumes the run" in said


def test_a_retry_that_stalls_does_not_outlast_the_cap() -> None:
    started = time.monotonic()
    refused(OVERLOADED, Answer(completion("x").body, stall=60), retry_seconds=1.2, timeout_seconds=50)
    assert time.monotonic() - started < 4


def test_waiting_is_said() -> None:
    told: list[str] = []
    with played(OVERLOADED, "ready") as server:
        one = client(server)
        one.notify = told.append
        one.ask(PROMPT)
    assert len(told) == 1
    assert told[0].startswith("waiting 0 s: ")
    assert "Overloaded" in told[0]


# ---------------------------------------------------------------------- what does not pass


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (error(401, "Incorrect API key provided", "invalid_api_key"), "401: .*Incorrect API key.*\n.*CANARY_API_KEY"),
        (error(403, "You may not use this model"), "403"),
        (error(404, "The model does not exist", "model_not_found"), "404: .*\n.*llm.model"),
        (error(429, "You exceeded your current quota", "insufficient_quota"), "quota.*\n.*raise the account's quota"),
        (error(402, "Insufficient Balance"), "add credit"),
        (error(400, "Your credit balance is too low to access the API"), "credit balance"),
        (error(400, "this call is not for you"), "not for you.*\n.*llm.send_seed=false"),
    ],
    ids=["401", "403", "404", "quota", "402", "credit", "vague"],
)
def test_what_does_not_pass_stops_at_once(fault: Answer, says: str, key: str) -> None:
    started = time.monotonic()
    with played(fault) as server, pytest.raises(LLMError, match=says) as raised:
        client(server, api_key_env="CANARY_API_KEY").ask(PROMPT)
    assert len(server.asked) == 1
    assert time.monotonic() - started < 3
    assert raised.value.exit_code == 4
    assert "the same command resumes the run" in raised.value.fix


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded"), "context"),
        (error(400, "prompt is too long: 300000 tokens > 200000 maximum"), "context"),
        (error(400, "The response was filtered by our content management policy", "content_filter"), "refused"),
        (completion("", finish_reason="content_filter"), "refused"),
        (completion("I started", finish_reason="content_filter"), "refused"),
        (completion(None, message={"role": "assistant", "content": None, "refusal": "I cannot help."}), "refused"),
    ],
    ids=["context", "context-anthropic", "filter-400", "filter", "filter-midway", "refusal"],
)
def test_a_declined_prompt_is_a_reply_that_says_so(answer: Answer, reason: str) -> None:
    reply, server = ask(answer)
    assert reply.finish_reason == reason
    assert reply.text
    assert len(server.asked) == 1


# ---------------------------------------------------------------------- odd replies


@pytest.mark.parametrize(
    "answer",
    [
        completion(""),
        completion(None),
        completion("x", choices=[]),
        completion(None, message={"role": "assistant", "content": None, "reasoning_content": "hm"}),
    ],
    ids=["empty", "null", "no-choices", "thoughts-only"],
)
def test_an_empty_reply_is_empty(answer: Answer) -> None:
    reply, server = ask(answer)
    assert (reply.text, reply.finish_reason) == ("", "empty")
    assert len(server.asked) == 1
    assert reply.tokens["input"] == 100


def test_a_reply_that_was_cut_off_says_so() -> None:
    assert ask(completion("import tor", finish_reason="length"))[0].finish_reason == "length"
    assert ask(completion("", finish_reason="length"))[0].finish_reason == "length"


def test_ten_megabytes_are_cut_and_count_as_cut_off() -> None:
    reply, server = ask(completion("x" * 10_000_000))
    assert (len(reply.text), reply.finish_reason) == (200_000, "length")
    assert reply.tokens["output"] == 50
    assert len(server.asked) == 1


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    reply, server = ask(Answer(b"x" * 65536, endless=True))
    assert reply.finish_reason == "length"
    assert reply.usd is None
    assert len(server.asked) == 1
    assert server.sent < 2 * MAX_BODY


def test_bad_utf8_is_replaced() -> None:
    body = completion("caf\u00e9 MARK").body.replace(b"MARK", b"\xff\xfe")
    reply, server = ask(Answer(body))
    assert reply.text == "caf\u00e9 \ufffd\ufffd"
    assert len(server.asked) == 1


def test_half_a_surrogate_pair_and_nul_can_be_kept() -> None:
    reply, _ = ask(completion("a\ud83db\0c"))
    assert reply.text == "a?b\0c"
    reply.text.encode()


# ---------------------------------------------------------------------- providers with a wire of their own


@pytest.mark.parametrize(
    ("model", "reply"),
    [("deepseek/deepseek-v4-pro", completion("ready")), ("anthropic/claude-sonnet-5-5", claude("ready"))],
    ids=["deepseek", "claude"],
)
def test_the_same_holds_for_providers_that_litellm_speaks_to_itself(model: str, reply: Answer, key: str) -> None:
    faults = (
        claude_error(529, "overloaded_error", "Overloaded") if "claude" in model else OVERLOADED,
        error(429, "slow down", retry_after="1"),
        Answer(reset=True),
        Answer(reply.body, stall=30),
        Answer(reply.body, drip=0.1),
        Answer(b"<html>hello</html>", headers={"Content-Type": "text/html"}),
        Answer(reply.body.replace(b"ready", b"r\xff")),
    )
    with played(*faults) as server:
        provider, _, name = model.partition("/")
        one = client(
            server, model=name, provider=provider, api_key_env="CANARY_API_KEY", timeout_seconds=0.8, retry_seconds=20
        )
        assert one.ask(PROMPT).text == "r\ufffd"
    gaps = [after.at - before.at for before, after in zip(server.asked, server.asked[1:], strict=False)]
    assert len(gaps) == len(faults) - 1
    assert gaps[1] > 0.95
    assert max(gaps) < 3
    assert key in str(server.asked[0].headers)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (claude("no", stop_reason="refusal"), "refused"),
        (claude("half", stop_reason="max_tokens"), "length"),
        (claude_error(400, "invalid_request_error", "prompt is too long: 2000000 tokens > 1000000"), "context"),
        (Answer(b"x" * 65536, endless=True), "length"),
        (claude("", content=[]), "empty"),
    ],
    ids=["refusal", "cut-off", "context", "endless", "empty"],
)
def test_claudes_endings(answer: Answer, reason: str, key: str) -> None:
    reply, server = ask(answer, model="claude-sonnet-5-5", provider="anthropic", api_key_env="CANARY_API_KEY")
    assert reply.finish_reason == reason
    assert len(server.asked) == 1
    assert server.asked[0].body["max_tokens"] == 8192


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (claude_error(401, "authentication_error", "invalid x-api-key"), "401"),
        (claude_error(400, "invalid_request_error", "Your credit balance is too low"), "credit balance"),
    ],
)
def test_what_stops_claude(answer: Answer, says: str, key: str) -> None:
    said, server = refused(answer, model="claude-sonnet-5-5", provider="anthropic", api_key_env="CANARY_API_KEY")
    assert says in said
    assert len(server.asked) == 1
    assert key not in said


# ---------------------------------------------------------------------- keys


def echo(status: int) -> Callable[[Asked], Answer]:
    """A server that sends the Authorization header back."""

    def script(asked: Asked) -> Answer:
        text = f"you sent {asked.headers['Authorization']}"
        return completion(text) if status == 200 else error(status, text)

    return script


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_key_that_the_server_echoes_is_hidden(status: int, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo(status)) as server:
        one = client(server, api_key_env="CANARY_API_KEY", retry_seconds=0.1)
        told: list[str] = []
        one.notify = told.append
        try:
            seen = one.ask(PROMPT).text
        except LLMError as failed:
            seen = f"{failed!r} {failed} {failed.__context__!r} {failed.__cause__!r}"
        assert server.asked[0].headers["Authorization"] == f"Bearer {key}"
    assert "[key]" in seen
    assert key not in seen + caplog.text + "".join(told)


# ---------------------------------------------------------------------- JSON


def asked_formats(server: ScriptedServer) -> list[str | None]:
    return [(asked.body.get("response_format") or {}).get("type") for asked in server.asked]


def test_json_is_asked_for_by_schema() -> None:
    with played('{"a": 1}') as server:
        client(server).ask(PROMPT, SCHEMA)
    sent = server.asked[0].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"] == SCHEMA
    assert sent["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("refusals", "formats"),
    [(1, ["json_schema", "json_object", "json_object"]), (2, ["json_schema", "json_object", None, None])],
)
@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "response_format.type must be 'json_object' or 'text'"),
        error(422, "Input should be 'text' or 'json_object': body response_format type"),
        error(500, "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]"),
    ],
    ids=["400", "422", "500"],
)
def test_a_simpler_way_is_learnt_at_once_and_kept(refusals: int, formats: list[str | None], refusal: Answer) -> None:
    with played(*[refusal] * refusals, '{"a": 1}') as server:
        one = client(server, retry_seconds=0.0)
        assert json.loads(one.ask(PROMPT, SCHEMA).text) == {"a": 1}
        one.ask(PROMPT, SCHEMA)
        assert asked_formats(server) == formats
        one.ask(PROMPT)
    assert asked_formats(server)[-1] is None


def test_a_complaint_about_something_else_teaches_nothing() -> None:
    with played(error(400, "max_tokens is too large")) as server, pytest.raises(LLMError, match="max_tokens"):
        client(server).ask(PROMPT, SCHEMA)
    assert len(server.asked) == 1
