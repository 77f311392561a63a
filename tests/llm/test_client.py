"""What a call sends to each kind of model, what it is said to cost, and who answers which role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.errors import ConfigError, LLMError
from improve.llm.client import Client
from improve.llm.library import load
from improve.llm.secrets import redact
from improve.spending.prices import price_of
from tests.support.models import clients_of
from tests.support.scripted_llm import claude, claude_error, completion, played

PROMPT = Prompt("You are the Summarizer of IMPROVE.\n", "Say it.\n")
SCHEMA = {"title": "Reply", "type": "object", "properties": {}, "required": [], "additionalProperties": False}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY"):
        # Long enough to be taken for a key.
        monkeypatch.setenv(name, "sk-0123456789abcdef")


def sent(option: str, *overrides: str, as_json: bool = False) -> dict[str, Any]:
    """The JSON that reaches a server when an option of conf/llm is asked there."""
    with played(completion("{}")) as server:
        config = config_from([f"llm={option}", f"llm.api_base={server.base}", *overrides])
        check(config)
        Client(config.llm, seed=7).ask(PROMPT, SCHEMA if as_json else None)
    return server.asked[0].body


def test_a_chat_model_gets_its_limit_and_its_temperature() -> None:
    body = sent("gpt-4o", "llm.temperature=0.3", "+llm.parameters.top_p=0.9")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("gpt-4o", 16384, 0.3)
    assert (body["seed"], body["top_p"]) == (7, 0.9)
    assert "temperature" not in sent("gpt-4o-mini")
    assert "seed" not in sent("gpt-4o-mini", "llm.send_seed=false")


@pytest.mark.parametrize("arguments", [("o1",), ("local", "llm.reasoning=true", "llm.temperature=null")])
def test_a_reasoning_model_gets_no_temperature(arguments: tuple[str, ...]) -> None:
    body = sent(*arguments, "llm.reasoning_effort=low", as_json=True)
    assert {"temperature", "max_tokens"}.isdisjoint(body)
    assert body["max_completion_tokens"] == {"o1": 32768, "local": 4096}[arguments[0]]
    assert body["reasoning_effort"] == "low"
    assert body["response_format"]["type"] == "json_schema"


def test_deepseek_is_asked_for_a_json_object() -> None:
    assert sent("deepseek", as_json=True)["response_format"] == {"type": "json_object"}


def test_a_small_context_leaves_room_for_the_prompt() -> None:
    body = sent("local", "llm.context_tokens=4200", "llm.max_output_tokens=4096")
    assert 4000 < body["max_tokens"] < 4190


def test_the_same_prompt_again_is_another_sample() -> None:
    with played("x") as server:
        one = Client(config_from(["llm=local", f"llm.api_base={server.base}"]).llm, seed=3)
        for sample in (0, 1, 2, 0):
            one.ask(PROMPT, sample=sample)
    first, *others, again = [asked.body["seed"] for asked in server.asked]
    assert first == again == 3
    assert len({first, *others}) == 3


@pytest.mark.parametrize("name", ["qwen2.5-coder:7b", "Qwen/Qwen2.5-Coder-7B-Instruct", "openai/gpt-oss"])
def test_a_server_of_ones_own_may_name_its_model_as_it_likes(name: str) -> None:
    assert sent("local", f"llm.model='{name}'")["model"] == name


# ---------------------------------------------------------------------- prices


def usd(tokens: dict[str, int], **config: Any) -> float | None:
    price = price_of(LLMConfig(name="x", **config), load()[0].model_cost, tokens["input"])
    return price and price.usd(tokens)


USED = {"input": 1_000_000, "cached": 400_000, "reasoning": 100_000, "output": 500_000}


def test_prices_are_litellms_unless_the_configuration_has_its_own() -> None:
    # gpt-4o: 2.50 fresh, 1.25 cached, 10 written, a million each.
    assert usd(USED, model="openai/gpt-4o") == pytest.approx(0.6 * 2.5 + 0.4 * 1.25 + 0.5 * 10)
    assert usd(USED, model="gpt-4o") == usd(USED, model="openai/gpt-4o")
    own = {"usd_per_million_input": 1.0, "usd_per_million_output": 3.0}
    assert usd(USED, model="openai/gpt-4o", **own) == pytest.approx(1.0 + 1.5)
    assert usd(USED, model="any", **own, usd_per_million_cached_input=0.5) == pytest.approx(0.6 + 0.2 + 1.5)
    assert usd(USED, model="any", usd_per_million_input=0.0, usd_per_million_output=0.0) == 0.0


def test_long_prompts_cost_what_the_list_asks_for_them() -> None:
    short = {**USED, "input": 100_000, "cached": 0}
    assert usd(short, model="gemini/gemini-2.5-pro") == pytest.approx(0.1 * 1.25 + 0.5 * 10)
    assert usd(USED, model="gemini/gemini-2.5-pro") == pytest.approx(0.6 * 2.5 + 0.4 * 0.25 + 0.5 * 15)


@pytest.mark.parametrize("model", ["openai/nobody-knows", "openai/o1-mini", "openai/deepseek-chat"])
def test_an_unknown_price_is_none(model: str) -> None:
    assert usd(USED, model=model) is None


def test_a_price_of_nothing_in_the_list_is_unknown() -> None:
    listed = {"m": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0, "litellm_provider": "p"}}
    assert price_of(LLMConfig(name="x", model="p/m"), listed) is None


def test_the_providers_own_usage_is_what_counts() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "total_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    with played(completion("x", usage=usage)) as server:
        config = config_from(["llm=o1", f"llm.api_base={server.base}"])
        reply = Client(config.llm, seed=0).ask(PROMPT)
    assert reply.tokens == {"input": 1000, "cached": 400, "reasoning": 100, "output": 500}
    assert reply.usd == pytest.approx((600 * 15 + 400 * 7.5 + 500 * 60) / 1e6)


def test_a_server_that_counts_nothing_leaves_the_cost_unknown() -> None:
    with played(completion("x", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})) as server:
        config = config_from(["llm=o1", f"llm.api_base={server.base}"])
        assert Client(config.llm, seed=0).ask(PROMPT).usd is None


# ---------------------------------------------------------------------- roles


@pytest.fixture
def own_options(tmp_path: Path) -> Path:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "mine.yaml").write_text(
        "name: mine\nmodel: my-model\napi_base: http://127.0.0.1:9/v1\napi_key_env: MY_KEY\nparameters: {top_p: 0.9}\n"
    )
    return tmp_path


def test_a_role_may_have_a_model_of_its_own(own_options: Path) -> None:
    config = config_from(
        ["llm=gpt-4o", "llm.temperature=0.5", "llm.roles.analyst=mine", "llm.roles.summarizer=gpt-4o"], own_options
    )
    clients = clients_of(config)
    assert clients.of("analyst").config.model == "my-model"
    assert clients.of("analyst").config.parameters == {"top_p": 0.9}
    assert clients.of("model_engineer") is clients.main
    # The run's own gpt-4o was changed on the command line, the summarizer's was not.
    assert clients.of("summarizer").config.temperature is None
    assert [client.config.name for client in clients.all] == ["gpt-4o", "mine", "gpt-4o"]
    assert len(clients_of(config_from(["llm=gpt-4o", "llm.roles.summarizer=gpt-4o"])).all) == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["llm.roles.analyst=gpt4o"], r"llm.roles.analyst=gpt4o: there is no llm=gpt4o(.|\n)*did you mean gpt-4o"),
        (["llm.roles.analyst=min"], "did you mean mine"),
        (["llm.parameters={api_key: x}"], "llm.parameters"),
        (["+llm.parameters.api_key=x"], "may not hold 'api_key'"),
        (["+llm.parameters.model=x"], "may not hold 'model'"),
        (["llm=o1", "llm.temperature=1"], "llm.reasoning=true"),
        (["llm.reasoning_effort=low"], "llm.reasoning=true"),
        (["llm.structured=yaml"], "json_schema, json_object, text"),
        (["llm.context_tokens=100"], "llm.max_output_tokens=8192"),
        (["llm.usd_per_million_input=1"], "llm.usd_per_million_output"),
        (["llm=local", "llm.api_base=localhost:8000"], "http://HOST"),
        (["llm=local", "llm.api_base=http://me:hunter2@host/v1"], "user name or password"),
        (["llm.api_key_env=sk-hunter2"], "not the name of an environment variable"),
        (["llm.retry_seconds=-1"], "llm.retry_seconds=0"),
    ],
)
def test_a_mistake_names_the_key(overrides: list[str], says: str, own_options: Path) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        check(config_from(overrides, own_options))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["llm=gpt-4o", "llm.roles.analyst=mine"], r"llm=mine \(for analyst\) needs a key in .* MY_KEY"),
        (["llm=gpt-4o", "llm.model=no/such"], "litellm knows no provider for llm.model=no/such"),
        (["llm=local", "llm.api_base=http://127.0.0.1:9/v1"], "nobody answers at llm.api_base"),
        (["llm=gpt-4o", "llm.model=mistral/x", "llm.api_key_env=null"], "MISTRAL_API_KEY"),
    ],
)
def test_what_no_role_could_ask_is_refused_before_the_run(
    overrides: list[str], says: str, own_options: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MISTRAL_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LLMError, match=says):
        clients_of(config_from(overrides, own_options)).check()


def test_all_that_is_there_passes(own_options: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "0123456789")
    with played("x") as server:
        file = own_options / "llm" / "mine.yaml"
        file.write_text(file.read_text().replace("http://127.0.0.1:9/v1", server.base))
        for option in ("o1", "gpt-4o", "gpt-4o-mini", "claude", "gemini", "deepseek", "mine"):
            clients_of(config_from([f"llm={option}", "llm.roles.analyst=mine"], own_options)).check()
        assert server.asked == []


# ---------------------------------------------------------------------- secrets, imports, network


def test_every_key_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "ollama")
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "0123456789abcdefghi")
    monkeypatch.setenv("MINE", "0123456789")
    text = "ollama 0123456789abcdefghi 0123456789"
    assert redact(text) == "ollama [key] 0123456789"
    assert redact(text, "MINE") == "ollama [key] [key]"
    assert redact(text, "SHORT_KEY") == "ollama [key] 0123456789"


GUARD = """
import json, sys
touched = []
def watch(event, arguments):
    if event == "socket.connect":
        touched.append(str(arguments[1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        touched.append(str(arguments[0]))
sys.addaudithook(watch)
from improve.config.compose import config_from
from improve.llm.clients import Clients
from improve.agents.prompts import PromptSet
import improve.agents.team, improve.commands.doctor
prompt = PromptSet("improve").render("summarizer", step="verdict: rejected\\n", diff="")
config = config_from(sys.argv[1:])
clients = Clients(config.llm, config.role_llms, config.seed)
clients.check()
reply = clients.main.ask(prompt)
heavy = sorted({"litellm", "openai", "httpx", "torch"} & set(sys.modules))
print(json.dumps([touched, heavy, reply.text]))
"""


def guarded(*overrides: str) -> tuple[list[str], list[str], str]:
    command = [sys.executable, "-c", GUARD, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    touched, heavy, text = json.loads(done.stdout)
    return touched, heavy, text


def test_the_rule_based_expert_needs_neither_litellm_nor_a_network() -> None:
    touched, heavy, text = guarded("llm=offline")
    assert (touched, heavy) == ([], [])
    assert text


def test_a_model_is_all_that_is_asked() -> None:
    with played(claude_error(529, "overloaded_error", "Overloaded"), claude("ready")) as server:
        touched, heavy, text = guarded("llm=claude", f"llm.api_base={server.base}", "llm.retry_wait_seconds=0.01")
        assert text == "ready"
        assert "litellm" in heavy
        assert touched
        assert all("127.0.0.1" in address for address in touched), touched


def test_a_missing_key_costs_no_import() -> None:
    program = (
        "import sys\nfrom improve.run import main\nmain(['llm=claude', 'outputs=/nonexistent/x'])\n"
        "print('litellm' in sys.modules)"
    )
    environment = {**os.environ, "ANTHROPIC_API_KEY": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert done.stdout.strip() == "False"
