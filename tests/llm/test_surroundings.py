"""Variables of the environment that break the client: one sentence that names it, before anything is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.llm.surroundings import PROXIES, broken, proxy_for
from tests.support.scripted_llm import played

BROKEN = [
    ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE=/nowhere/ca.pem names certificates that are not there"),
    ({"SSL_CERT_DIR": "/nowhere"}, "SSL_CERT_DIR=/nowhere"),
    ({"SSL_CERT_FILE": __file__}, "holds no certificates"),
    ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "ALL_PROXY names a SOCKS proxy"),
    ({"https_proxy": "socks5h://u:hunter2@127.0.0.1:1080"}, "https_proxy names a SOCKS proxy"),
    ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost,[::1]"}, "NO_PROXY holds [::1]"),
    ({"HTTP_PROXY": "http://p:1", "no_proxy": "fd00::/8,localhost"}, "no_proxy holds fd00::/8"),
    ({"HTTPS_PROXY": "ftp://u:hunter2@p"}, "HTTPS_PROXY is not the address of a proxy"),
    ({"HTTP_PROXY": "http://u:hunter2@p:1:2"}, "HTTP_PROXY is not the address of a proxy"),
]


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(("variables", "says"), BROKEN)
def test_the_variable_is_named(variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    told = list(broken())
    assert len(told) == 1
    assert says in told[0][0]
    assert next(name for name in variables if name in told[0][0]) in told[0][1]
    assert "hunter2" not in "".join(told[0])
    assert dict(os.environ) == before


def test_what_works_is_not_complained_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,::1,.internal,10.0.0.0/8")
    assert list(broken()) == []
    assert proxy_for("https://api.example.org/v1") == ("HTTPS_PROXY", "proxy", 3128)
    assert proxy_for("https://x.internal/v1") is None
    assert proxy_for("http://127.0.0.1:8000/v1") is None


def improve(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize(("variables", "says"), [BROKEN[0], BROKEN[3], BROKEN[5]])
def test_a_run_stops_with_that_sentence(variables: dict[str, str], says: str, tmp_path: Path) -> None:
    with played("x") as server:
        where = (f"outputs={tmp_path}", "dataset=digits")
        done = improve("improve.run", "llm=local", f"llm.api_base={server.base}", *where, **variables)
    assert done.returncode == 4, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert server.asked == []


def test_a_server_of_this_machine_needs_no_proxy() -> None:
    program = (
        "from improve.domain import Prompt\nfrom improve.config.schema import LLMConfig\n"
        "from improve.llm.client import Client\nimport sys\n"
        "for p in (None, 'anthropic'):\n"
        "    config = LLMConfig(name='local', model='m', provider=p, api_base=sys.argv[1], retry_seconds=1.0)\n"
        "    print(Client(config, 0).ask(Prompt('s', 'u')).text)\n"
    )
    from tests.support.scripted_llm import claude

    with played("ready", claude("theirs")) as server:
        proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
        done = improve_program(program, server.base, **proxies)
    assert done.stdout.split() == ["ready", "theirs"], done.stderr


def improve_program(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)


def test_a_proxy_that_is_not_there_is_named(tmp_path: Path) -> None:
    variables = {"https_proxy": "http://127.0.0.1:9", "OPENAI_API_KEY": "sk-0123456789abcdef"}
    done = improve("improve.run", "llm=gpt-4o", "dataset=digits", f"outputs={tmp_path}", **variables)
    assert done.returncode == 4
    assert "nobody answers at the proxy that https_proxy names" in done.stderr


def test_doctor_tells_each_of_them_with_its_own_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    from improve.commands.doctor import Mark, check_surroundings
    from improve.config.invocation import install_command, own_python

    (fine,) = check_surroundings()
    assert fine.mark is Mark.OK
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    certificates, proxy = check_surroundings()
    assert (certificates.mark, proxy.mark) == (Mark.WARN, Mark.WARN)
    assert "SSL_CERT_FILE" in certificates.sentence
    assert "ALL_PROXY" not in certificates.fix
    assert f"$({own_python()} -m certifi)" in certificates.fix, "a bare python may be none, or know no certifi"
    assert install_command("socksio") in proxy.fix, "an environment may have no pip"
