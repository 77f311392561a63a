"""Runs against servers that refuse, decline and repeat the key: real processes, real sockets, real trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.record.history import History
from improve.record.journal import JOURNAL, read
from tests.support import components
from tests.support.scripted_llm import Answer, Asked, ScriptedServer, error, role_of, serving

CANARY, OTHER = "sk-canary-0123456789abcdef", "sk-other-canary-fedcba9876543210"


def improve(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"IMPROVE_CACHE": str(cache), "CANARY_API_KEY": CANARY, "OTHER_API_KEY": OTHER}
    return subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments, "dataset=digits", "display=plain"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, **environment},
    )


def echo(server: ScriptedServer, asked: Asked) -> str | Answer:
    """Every other answer is an error, and all repeat the header that holds the key."""
    given = asked.headers["Authorization"]
    if len(server.asked) % 2:
        return error(500, f"failed for {given}")
    role = role_of(asked.prompt[0])
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=1).replace("import torch\n", f"import torch  # {given}\n")
    if role == "Training Engineer":
        return components.fenced(training=f"# {given}\n{components.training(epochs=4, rate=3e-3)}")
    return f"It trained longer, with {given}."


def wrong_key_at_first(server: ScriptedServer, asked: Asked) -> str | Answer:
    given = asked.headers["Authorization"]
    if len(server.asked) == 1:
        return error(401, f"Incorrect API key provided: {given}", "invalid_api_key")
    return json.dumps({"component": "training", "diagnosis": given, "feedback": f"train longer ({given})"})


@pytest.mark.slow
def test_keys_stay_hidden_and_a_stopped_run_goes_on(tmp_path: Path, cache: Path) -> None:
    folder, options = tmp_path / "run", tmp_path / "options"
    with (
        serving(lambda asked: echo(main, asked)) as main,
        serving(lambda asked: wrong_key_at_first(other, asked)) as other,
    ):
        (options / "llm").mkdir(parents=True)
        (options / "llm" / "mine.yaml").write_text(
            f"name: mine\nmodel: my/model\napi_base: {other.base}\napi_key_env: OTHER_API_KEY\n"
        )
        arguments = (
            *("--config-dir", str(options), "llm=local", f"llm.api_base={main.base}", "llm.roles.analyst=mine"),
            *("llm.api_key_env=CANARY_API_KEY", "llm.retry_wait_seconds=0.05", "strategy.iterations=1"),
            f"run_dir={folder}",
        )
        stopped = improve(cache, *arguments)
        assert stopped.returncode == 4, stopped.stdout + stopped.stderr
        assert "OTHER_API_KEY" in stopped.stderr
        assert "the same command resumes the run" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert (folder / "run.html").exists()
        before = len(main.asked)
        resumed = improve(cache, *arguments)
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        assert not any(role_of(asked.prompt[0]) == "Project Architect" for asked in main.asked[before:])
        assert {role_of(asked.prompt[0]) for asked in other.asked} == {"Performance Analyst"}
        assert {asked.headers["Authorization"] for asked in main.asked} == {f"Bearer {CANARY}"}
        assert {asked.headers["Authorization"] for asked in other.asked} == {f"Bearer {OTHER}"}
    models = {record.data["role"]: record.data["model"] for record in read(folder / JOURNAL)[0] if record.kind == "llm"}
    assert models["analyst"] == "my/model"
    assert models["architect"] == "local"
    assert "[key]" in (folder / "candidates" / "000" / "training.py").read_text()
    said = [stopped.stdout, stopped.stderr, resumed.stdout, resumed.stderr]
    files = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for text in (*said, *files):
        assert CANARY not in text
        assert OTHER not in text


@pytest.mark.slow
def test_three_refusals_in_a_row_end_the_run(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    with serving(lambda asked: error(400, "blocked by our content policy", "content_filter")) as server:
        arguments = ("llm=local", f"llm.api_base={server.base}", "strategy.iterations=9", f"run_dir={folder}")
        done = improve(cache, *arguments)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "declined 3 times in a row" in done.stderr
    assert "content policy" in done.stderr
    history = History.read(folder)
    assert len(history.iterations) == 3
    assert all(iteration.reason.startswith("failed: refused: ") for iteration in history.iterations)
    assert history.finished is not None
    # The architect and the summarizer, three times each: no re-ask.
    assert len(server.asked) == 6
