"""Money end to end: a dry run, a budget that is too small, one that ends the run, and its replay without litellm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from improve.domain import Prompt
from improve.record.history import History
from improve.record.journal import JOURNAL, read
from improve.spending.worst_case import most_input_tokens
from tests.support import components
from tests.support.paths import ROOT
from tests.support.scripted_llm import Answer, Asked, ScriptedServer, completion, role_of, serving

pytestmark = pytest.mark.slow

MOST_WRITTEN = 1000
# A dry run takes it for granted that the hub of weights answers; whether it does is not to matter here.
OFFLINE = "executor.weights_on_demand=false"


def reply(system: str, user: str) -> str:
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=1)
    if role == "Performance Analyst":
        return json.dumps({"component": "training", "feedback": "train longer"})
    return "It did what was asked."


@dataclass
class Runs:
    """What was typed, one after the other, in one folder; and how many requests there had been after each."""

    server: ScriptedServer
    folder: Path
    cache: Path
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    existed: dict[str, bool] = field(default_factory=dict)

    def improve(self, name: str, *arguments: str, **environment: str) -> None:
        self.done[name] = subprocess.run(
            [sys.executable, "-m", "improve.run", "dataset=digits", "display=plain", *arguments],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "IMPROVE_CACHE": str(self.cache), **environment},
        )
        self.asked[name] = len(self.server.requests)
        self.existed[name] = self.folder.exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("money")

    def script(asked: Asked) -> Answer:
        """Nine tokens for ten bytes, and a reply that reaches the limit: near the worst case of every call."""
        tokens = round(0.9 * most_input_tokens(Prompt(*asked.prompt)))
        usage = {"prompt_tokens": tokens, "completion_tokens": MOST_WRITTEN, "total_tokens": tokens + MOST_WRITTEN}
        return completion(reply(*asked.prompt), usage=usage)

    with serving(script) as server:
        made = Runs(server, folder / "run", cache)
        live = (
            "llm=local",
            f"llm.api_base={server.base}",
            f"llm.max_output_tokens={MOST_WRITTEN}",
            "llm.usd_per_million_input=1",
            "llm.usd_per_million_output=10",
            "strategy.iterations=2",
            OFFLINE,
            f"run_dir={made.folder}",
        )
        made.improve("dry", *live, "dry_run=true", "llm.api_key_env=NOT_SET_ANYWHERE")
        made.improve("too small", *live, "budget.usd=0.01")
        made.improve("enough", *live, "budget.usd=0.05")
        made.improve("again", *live, "budget.usd=1")
        poison = folder / "poison" / "litellm"
        poison.mkdir(parents=True)
        (poison / "__init__.py").write_text("raise ImportError('a replay needs no litellm')")
        path = os.pathsep.join([str(poison.parent), str(ROOT)])
        replay = ("llm=replay", f"llm.cassette={made.folder}", "strategy.iterations=0", f"run_dir={folder / 'replay'}")
        made.improve("replay", *replay, OFFLINE, "executor.fit_seconds=25", "budget.usd=0.0001", PYTHONPATH=path)
        yield made


def test_a_dry_run_asks_nobody_needs_no_key_and_leaves_no_run(runs: Runs) -> None:
    done = runs.done["dry"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs.asked["dry"] == 0
    assert not runs.existed["dry"]
    assert "nobody was asked" in done.stdout
    assert "An estimate." in done.stdout
    first = runs.folder.parent / "dry_run" / "run" / "architect.md"
    system, user = runs.server.requests[0]
    assert system in first.read_text()
    assert user in first.read_text()


def test_what_was_paid_lies_between_the_estimates(runs: Runs) -> None:
    total = next(line for line in runs.done["dry"].stdout.splitlines() if line.split()[:1] == ["all"])
    low, high = (float(number) for number in re.findall(r"([\d.]+) to ([\d.]+) USD", total)[0])
    assert 0.001 < low < 0.05 < high


def test_a_budget_for_no_call_asks_nobody_and_can_be_raised(runs: Runs) -> None:
    done = runs.done["too small"]
    assert done.returncode == 8, done.stdout + done.stderr
    assert "budget.usd=0.01 does not suffice" in done.stderr
    assert "Traceback" not in done.stderr
    assert runs.asked["too small"] == 0
    assert runs.done["enough"].returncode == 0, runs.done["enough"].stdout + runs.done["enough"].stderr


def test_the_run_ends_within_its_budget_with_a_test_score(runs: Runs) -> None:
    history = History.read(runs.folder)
    assert history.usd is not None
    assert 0.03 < history.usd <= 0.05
    assert history.finished is not None
    assert history.finished["budget"] == "budget.usd"
    assert history.best_test is not None
    assert history.best_test["failure"] is None
    assert (runs.folder / "best" / "predict.py").exists()
    assert "ended before all 2 iterations: budget.usd=0.05 does not suffice" in (runs.folder / "run.html").read_text()
    assert "finished (budget.usd=0.05 does not suffice" in runs.done["enough"].stdout


def test_the_finished_record_has_the_costs_of_each_role_and_iteration(runs: Runs) -> None:
    finished = History.read(runs.folder).finished
    assert finished is not None
    assert finished["usd"] is not None
    for parts in (finished["roles"], finished["iterations"]):
        assert sum(part["usd"] for part in parts.values()) == pytest.approx(finished["usd"])
        assert sum(part["tokens"]["input"] for part in parts.values()) == finished["tokens"]["input"]
    assert set(finished["roles"]) == {"architect", "summarizer", "analyst"}
    assert set(finished["iterations"]) == {"0", "1"}
    assert finished["unpriced"] == []


def test_a_run_that_its_budget_ended_says_so_and_is_not_tested_again(runs: Runs) -> None:
    done = runs.done["again"]
    assert done.returncode == 0, done.stderr
    assert "a larger budget does not continue it" in done.stdout
    assert runs.asked["again"] == runs.asked["enough"]


def test_a_replay_needs_no_server_no_litellm_and_no_money(runs: Runs) -> None:
    done = runs.done["replay"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs.asked["replay"] == runs.asked["enough"]
    replayed = History.read(runs.folder.parent / "replay")
    recorded = History.read(runs.folder)
    assert replayed.usd == 0
    assert replayed.best_test is not None
    assert [c["reply"] for c in replayed.calls] == [c["reply"] for c in recorded.calls if c["iteration"] == 0]
    assert [c["tokens"] for c in replayed.calls] == [c["tokens"] for c in recorded.calls if c["iteration"] == 0]
    # Another time limit makes the architect's prompt another one; the summarizer's knows nothing of it.
    assert [(c["role"], c["replay"]) for c in replayed.calls] == [("architect", "step"), ("summarizer", "request")]
    assert "1 of 2 replies found by the same prompt, 1 by role and step" in done.stdout
    assert "recorded with strategy.iterations=2, executor.fit_seconds=20" in " ".join(done.stdout.split())
    assert any(r.kind == "finished" for r in read(runs.folder.parent / "replay" / JOURNAL)[0])


def test_a_sweep_ends_with_the_sum_of_its_estimates(tmp_path: Path, cache: Path) -> None:
    arguments = ("-m", "dry_run=true", "dataset=digits", "llm=gpt-4o,offline", "seed=0,1", f"outputs={tmp_path}")
    done = subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "IMPROVE_CACHE": str(cache)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    highs = [float(usd) for usd in re.findall(r"^dry run of .* to ([\d.]+) USD$", done.stdout, re.MULTILINE)]
    total = re.search(r"^all 4 runs together: .* to ([\d.]+) USD$", done.stdout, re.MULTILINE)
    assert total is not None, done.stdout
    assert len(highs) == 2
    assert float(total[1]) == pytest.approx(sum(highs), abs=0.02)
    assert not list(tmp_path.glob(f"*/{JOURNAL}"))
