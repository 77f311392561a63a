"""Behind `llm.api_base` a model's name is free, and a prompt goes to that server alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from improve.config.compose import config_from
from improve.config.llm_names import asked_model
from improve.config.naming import run_name
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.errors import LLMError
from improve.llm.client import Client
from improve.llm.library import load, model_for
from tests.support.scripted_llm import Answer, Asked, claude, completion, played, serving

PROMPT = Prompt("You are the Summarizer of IMPROVE.\n", "Say it.\n")
NAMES = [
    "openai/gpt-oss-20b", "claude-sonnet-4-5", "anthropic/claude-sonnet-4-5", "replicate/meta/llama-3", "gemini/x",
    "ollama/qwen3", "azure/gpt-4o", "bedrock/x", "vertex_ai/x", "huggingface/a/b", "openai/o1", "gpt-5", "o3-mini",
    "text-davinci-003", "custom_openai/x", "Qwen/Qwen2.5-Coder-7B-Instruct", "qwen2.5-coder:7b", "/models/x.gguf",
    "deepseek/deepseek-chat", "openai/responses/gpt-5", "1_5", "a b",
]  # fmt: skip

TRIPWIRE = """
import json, sys
touched = []
def watch(event, arguments):
    if event == "socket.connect":
        touched.append(str(arguments[1][0]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        touched.append(str(arguments[0]))
sys.addaudithook(watch)
from improve.domain import Prompt
from improve.config.schema import LLMConfig
from improve.llm.client import Client
for name in json.loads(sys.argv[2]):
    config = LLMConfig(name="local", model=name, api_base=sys.argv[1], temperature=0.7, retry_seconds=0.0)
    assert Client(config, 0).ask(Prompt("s", "u")).text == "ready", name
print(json.dumps(sorted(set(touched))))
"""


def test_any_name_is_sent_as_it_is_and_to_nobody_else() -> None:
    with played("ready") as server:
        command = [sys.executable, "-c", TRIPWIRE, server.base, json.dumps(NAMES)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    assert [asked.body["model"] for asked in server.asked] == NAMES
    assert json.loads(done.stdout) == ["127.0.0.1"]
    assert all({"max_tokens", "temperature", "seed"} <= set(asked.body) for asked in server.asked)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[Asked]]]:
    """A server under another name, which would answer."""
    with played("caught") as server:
        yield server.base.replace("127.0.0.1", "localhost"), server.asked


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("provider", [None, "anthropic"])
def test_no_redirect_takes_a_prompt_to_another_host(
    status: int, provider: str | None, elsewhere: tuple[str, list[Asked]], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, caught = elsewhere
    with played(Answer(b"", status, {"Location": f"{other}/chat/completions"})) as server:
        config = LLMConfig(name="local", model="m", provider=provider, api_base=server.base, retry_seconds=1.0)
        with pytest.raises(LLMError) as raised:
            Client(config, 0).ask(PROMPT)
    assert caught == []
    if provider is None:
        assert "localhost" in str(raised.value)


def test_the_protocol_of_another_provider_is_spoken_where_it_is_named() -> None:
    def script(asked: Asked) -> Answer:
        return claude("theirs") if "x-api-key" in {key.lower() for key in asked.headers} else completion("openai's")

    with serving(script) as server:
        for provider, text in ((None, "openai's"), ("anthropic", "theirs")):
            config = LLMConfig(name="x", model="claude-sonnet-5-5", provider=provider, api_base=server.base)
            assert Client(config, 0).ask(PROMPT).text == text


@pytest.mark.parametrize(
    ("overrides", "known"),
    [
        (["llm=gpt-4o"], "openai/gpt-4o"),
        (["llm=gpt-4o", "llm.model=openai/o3"], "openai/o3"),
        (["llm=gpt-4o", "llm.model=gpt-5"], "openai/gpt-5"),
        (["llm=claude"], "anthropic/claude-sonnet-5-5"),
        (["llm=gpt-4o", "llm.model=mistral/x"], "mistral/x"),
    ],
)
def test_without_an_address_names_are_litellms(overrides: list[str], known: str) -> None:
    llm = config_from(overrides).llm
    assert model_for(llm) == asked_model(llm) == known
    assert load()[0].get_llm_provider(known)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        # As the versions named them that had "openai/gpt-4o" in the option itself.
        (["llm=gpt-4o"], "dsprites_orientation-iterative-gpt_4o-seed0-0900f1"),
        (["llm=claude"], "dsprites_orientation-iterative-claude-seed0-748e85"),
        (["llm=local"], "dsprites_orientation-iterative-local-seed0-bdc4f0"),
        (["llm=gpt-4o", "llm.roles.analyst=o1"], "dsprites_orientation-iterative-gpt_4o-seed0-78e93a"),
        (["llm=gpt-4o", "llm.requests_per_minute=5"], "dsprites_orientation-iterative-gpt_4o-seed0-0900f1"),
    ],
)
def test_runs_have_the_names_that_they_have_always_had(overrides: list[str], name: str) -> None:
    before = ["acceptance=paired", "finish=single"]  # what runs did before there was a choice
    assert run_name(config_from([*overrides, *before])) == name
