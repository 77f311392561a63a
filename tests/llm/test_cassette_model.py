"""What a real language model wrote, replayed: Qwen2.5-Coder 1.5B (Apache-2.0) on the digits, mistakes included.

The replies in `cassettes/` were recorded once; nobody is asked here. On other hardware scores differ, and with them the
prompts: replies are then found by role and step.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.domain import Verdict
from improve.llm import cassette
from improve.record.history import History
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

CASSETTE = ROOT / "tests" / "cassettes" / "qwen2.5-coder-1.5b-digits.json"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> History:
    folder = tmp_path_factory.mktemp("replay") / "run"
    done = subprocess.run(
        [
            sys.executable, "-m", "improve.run", "dataset=digits", "llm=replay", f"llm.cassette={CASSETTE}",
            "prompts=small", "strategy.iterations=3", "executor.fit_seconds=10", "display=plain", f"run_dir={folder}",
        ],
        capture_output=True, text=True, timeout=280, env={**os.environ, "IMPROVE_CACHE": str(cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return History.read(folder)


def test_every_recorded_reply_was_used_and_none_was_asked_for(history: History) -> None:
    recorded = cassette.read(CASSETTE).calls
    assert len(history.calls) == len(recorded)
    assert [call["reply"] for call in history.calls] == ["\n".join(call.reply) for call in recorded]
    assert {call["replay"] for call in history.calls} <= {"request", "step"}
    assert all(call["usd"] == 0 for call in history.calls)


def test_its_mistakes_are_classified_and_its_fresh_start_is_scored(history: History) -> None:
    first = history.iterations[0]
    assert [check["failure"] and check["failure"]["reason"] for check in first.checks] == ["crash", "crash", None]
    assert first.outcome is Verdict.ACCEPTED
    assert history.best_test is not None
    assert history.best_test["accuracy"] > 0.8
