"""`improve doctor`: says what is there, says what is broken, breaks on neither, and shows no key."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from improve import sandbox
from improve.commands import doctor
from improve.commands.doctor import Finding, Mark
from improve.config.compose import config_from
from improve.config.places import cache_folder
from improve.errors import SandboxError
from tests.support.models import clients_of
from tests.support.scripted_llm import completion, error, played

SECRET = "sk-not-for-anybodys-eyes"


@pytest.fixture
def broken_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that shadows Lightning in child processes; write its text."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "pytorch_lightning.py"


def run_doctor() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "improve.commands.doctor"], capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
def test_this_machine_can_run_improve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    result = run_doctor()
    assert result.returncode == 0, result.stdout
    for topic in ("Python", "torch", "sandbox", "keys", "cache", "machine", "weights", "tracking"):
        assert f" {topic}: " in result.stdout
    assert "OPENAI_API_KEY" in result.stdout
    assert SECRET not in result.stdout + result.stderr
    assert "tf_efficientnet_lite0" in result.stdout


def test_a_broken_torch_is_a_finding(broken_lightning: Path) -> None:
    broken_lightning.write_text("raise ImportError('libcudart.so.99: cannot open shared object file')")
    result = run_doctor()
    assert result.returncode == 1
    assert "libcudart.so.99" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_torch_that_hangs_is_a_finding(broken_lightning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_lightning.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TORCH_SECONDS", 0.5)
    finding = doctor.check_torch()
    assert finding.mark is Mark.FAIL
    assert "within" in finding.sentence


def asked_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "improve.cli", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_a_model_that_is_named_gets_one_tiny_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llm").mkdir()
    with played("ready", error(401, f"no such key: {SECRET}")) as server:
        (tmp_path / "llm" / "mine.yaml").write_text(
            f"name: mine\nmodel: tiny\napi_base: {server.base}\napi_key_env: MY_KEY\nusd_per_million_input: 1.0\n"
            "usd_per_million_output: 2.0\n"
        )
        good = asked_doctor("llm=mine", "--config-dir", str(tmp_path), MY_KEY=SECRET)
        assert good.returncode == 0, good.stdout + good.stderr
        assert len(server.asked) == 1
        assert server.asked[0].body["max_tokens"] == 64
        line = next(line for line in good.stdout.splitlines() if " llm: " in line)
        assert re.search(r"mine \(tiny\) answered in \d+\.\d s", line)
        assert "100 input and 50 output tokens, 0.000200 USD" in line
        monkeypatch.setenv("MY_KEY", SECRET)
        (bad,) = doctor.check_llm(clients_of(config_from(["llm=mine"], tmp_path)))
    assert bad.mark is Mark.FAIL
    assert "refused the call: 401" in bad.sentence
    assert "MY_KEY" in bad.fix
    assert SECRET not in f"{bad} {good.stdout} {good.stderr}"


@pytest.mark.parametrize(
    ("overrides", "code", "says"),
    [
        (["llm=gpt4o"], 2, "gpt-4o"),
        (["llm.temprature=1"], 2, "llm.temperature"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_at_once(overrides: list[str], code: int, says: str) -> None:
    done = asked_doctor(*overrides)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stdout == ""


def test_a_model_that_cannot_be_asked_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (finding,) = doctor.check_llm(clients_of(config_from(["llm=gpt-4o"])))
    assert (finding.mark, "OPENAI_API_KEY" in finding.sentence) == (Mark.FAIL, True)
    (finding,) = doctor.check_llm(clients_of(config_from(["llm=local", "llm.api_base=http://127.0.0.1:9/v1"])))
    assert (finding.mark, "nobody answers" in finding.sentence) == (Mark.FAIL, True)
    (finding,) = doctor.check_llm(clients_of(config_from(["llm=offline"])))
    assert finding.mark is Mark.OK
    with played(completion("")) as server:
        (finding,) = doctor.check_llm(clients_of(config_from(["llm=local", f"llm.api_base={server.base}"])))
    assert (finding.mark, "answered with nothing" in finding.sentence) == (Mark.WARN, True)


def test_doctor_itself_stays_light() -> None:
    program = (
        "import sys, improve.commands.doctor; sys.exit(' '.join({'torch', 'timm', 'litellm'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_key_variables_of_the_configuration_are_known(tmp_path: Path) -> None:
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "mine.yaml").write_text("name: mine\napi_key_env: MY_OWN_KEY\n")
    (tmp_path / "llm" / "free.yaml").write_text("name: free\napi_key_env: null\n")
    (tmp_path / "llm" / "empty.yaml").write_text("")
    assert set(doctor.key_variables(tmp_path)) == {*doctor.KEYS, "MY_OWN_KEY"}


def test_empty_keys_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.key_variables():
        monkeypatch.delenv(name, raising=False)
    assert doctor.check_keys().mark is Mark.WARN
    monkeypatch.setenv("GEMINI_API_KEY", " ")
    assert doctor.check_keys().mark is Mark.WARN
    monkeypatch.setenv("GEMINI_API_KEY", SECRET)
    finding = doctor.check_keys()
    assert (finding.mark, finding.sentence) == (Mark.OK, "set: GEMINI_API_KEY")


def test_cache_that_does_not_exist_yet_is_fine_and_not_made(tmp_path: Path) -> None:
    finding = doctor.check_cache(tmp_path / "new" / "deep")
    assert finding.mark is Mark.OK or "GiB free" in finding.sentence
    assert list(tmp_path.iterdir()) == []


def test_cache_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = doctor.check_cache(tmp_path / "file" / "cache")
    assert finding.mark is Mark.FAIL
    assert "IMPROVE_CACHE" in finding.fix


def test_cache_folder_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("IMPROVE_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "improve"
    monkeypatch.setenv("IMPROVE_CACHE", "~/elsewhere")
    assert cache_folder() == tmp_path / "elsewhere"
    assert cache_folder("here") == Path.cwd() / "here"


@pytest.mark.parametrize(("text", "limited"), [("1073741824\n", True), ("max\n", False), (None, False)])
def test_a_containers_memory_limit_counts(tmp_path: Path, text: str | None, limited: bool) -> None:
    limit = tmp_path / "memory.max"
    if text:
        limit.write_text(text)
    assert (doctor.memory_bytes(limit) == doctor.GIB) == limited


@pytest.mark.slow
def test_no_confinement_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sandbox.choose("off")
    monkeypatch.setattr(sandbox, "choose", lambda mode: plain)
    finding = doctor.check_sandbox()
    assert finding.mark is Mark.WARN
    assert finding.sentence.startswith("T0")
    assert "unverified" in finding.sentence
    assert finding.fix == plain.how_to_improve != ""


def test_a_sandbox_that_cannot_be_had_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(mode: str) -> None:
        raise SandboxError("no sandbox", "use Linux")

    monkeypatch.setattr(sandbox, "choose", refuse)
    assert doctor.check_sandbox() == Finding(Mark.FAIL, "sandbox", "no sandbox", "use Linux")


def test_missing_weights_folder_is_a_finding(tmp_path: Path) -> None:
    finding = doctor.check_weights(tmp_path / "none")
    assert finding.mark is Mark.FAIL
    assert "executor.weights" in finding.sentence


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", "ok"), ("utf-8", "✔")])
def test_findings_are_shown_literally_on_any_terminal(encoding: str, sign: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    findings = [Finding(Mark.OK, "a", "[bold]x[/bold]"), Finding(Mark.FAIL, "b", "broken", "mend it")]
    doctor.show(findings, Console(file=stream))
    stream.seek(0)
    lines = stream.read().splitlines()
    assert lines[0] == f"{sign} a: [bold]x[/bold]"
    assert lines[2].strip() == "fix: mend it"
