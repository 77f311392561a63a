"""One pace for many processes: no minute holds more than is allowed, whoever waits, dies or is told to wait."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from improve.agents.brief import Brief
from improve.agents.prompts import PromptSet
from improve.agents.team import Team
from improve.config.compose import config_from
from improve.display.sentences import asking
from improve.errors import ConfigError, LLMError
from improve.llm.backend import LiveModels
from improve.llm.library import load
from improve.llm.pace import Pace
from improve.record.history import History
from improve.record.journal import Journal, read
from tests.support.made_run import Maker
from tests.support.paths import ROOT
from tests.support.scripted_llm import Answer, Asked, completion, error, played, serving


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """litellm takes seconds to import: not in a test that measures time."""
    load()


def quiet(text: str) -> None:
    """Nobody listens."""


def many(base: str, cache: Path, processes: int, calls: int, *limits: str) -> subprocess.CompletedProcess[str]:
    numbers = (str(processes), str(calls))
    command = [sys.executable, "-m", "tests.support.many_callers", base, str(cache), *numbers, *limits]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=ROOT)


def test_sixteen_processes_keep_the_requests_of_a_minute(tmp_path: Path) -> None:
    began, wall = time.monotonic(), time.time()
    with played("ready") as server:
        done = many(server.base, tmp_path, 16, 2, "requests_per_minute=240")
        assert done.returncode == 0, done.stderr
    at = sorted(asked.at for asked in server.asked)
    assert len(at) == 32
    # One each quarter of a second. What a busy machine delays, the first among them, arrives late and close together:
    # so only the end tells, and what they have agreed on.
    assert at[-1] - began > 31 * 0.25
    (file,) = (tmp_path / "rates").glob("*.json")
    assert json.loads(file.read_text())["requests_from"] > wall + 32 * 0.25


@pytest.mark.slow
def test_sixteen_processes_keep_the_tokens_of_a_minute(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    began = time.monotonic()
    with played(completion("ready", usage=usage)) as server:
        done = many(server.base, tmp_path, 16, 1, "tokens_per_minute=3000")
        assert done.returncode == 0, done.stderr
    at = sorted(asked.at for asked in server.asked)
    # Each takes 30 tokens, 0.6 s of a minute; what was reserved beyond that has come back.
    assert 0.8 * 15 * 0.6 < at[-1] - began < 60


@pytest.mark.slow
def test_a_limit_of_the_provider_is_met_by_all_and_counted(tmp_path: Path) -> None:
    taken: list[float] = []

    def script(asked: Asked) -> str | Answer:
        """Two a second, as a provider counts them."""
        recent = [at for at in taken if asked.at - at < 1.0]
        if len(recent) >= 2:
            return error(429, "Rate limit reached", retry_after="1")
        taken.append(asked.at)
        return "ready"

    with serving(script) as server:
        done = many(server.base, tmp_path, 16, 1, "requests_per_minute=600")
        assert done.returncode == 0, done.stderr
    counted = sum(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("retries"))
    assert counted == len(server.asked) - 16 > 0


def test_one_that_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    file = tmp_path / "rates" / "x.json"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom improve.llm.pace import Pace\n"
        "pace = Pace(Path(sys.argv[1]), 600, None, 10)\npace.begin(1, print)\n"
        "with pace._held():\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    started = time.monotonic()
    Pace(file, 600, None, 10).begin(1, quiet)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("torn", ["", '{"requests_from": 1', "[]", '{"requests_from": "x"}', "\0\0"])
def test_a_torn_file_is_one_of_which_nothing_is_known(torn: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(torn)
    Pace(file, 60, 1000, 10).begin(1, quiet)
    assert json.loads(file.read_text())["requests_from"] > time.time()


def test_a_clock_that_was_ahead_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"requests_from": time.time() + 1e7, "tokens_from": 0, "written": [3]}))
    Pace(file, 60, None, 10).begin(1, quiet)
    assert json.loads(file.read_text())["written"] == [3]


def test_tokens_are_reserved_by_late_replies_and_given_back(tmp_path: Path) -> None:
    pace = Pace(tmp_path / "x.json", None, 60_000, 8000)
    reserved, _ = pace.begin(2000, quiet)
    assert reserved == 10_000  # nothing is known of replies yet
    pace.end(reserved, 2500, 500)
    reserved, waited = pace.begin(2000, quiet)
    assert reserved == 2500
    assert 1.0 < waited < 9  # 2500 of 1000 a second, not 10,000


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "rates").write_text("")
    with pytest.raises(ConfigError, match="cache_dir=DIR"):
        Pace(tmp_path / "rates" / "x.json", 1, None, 1).begin(1, quiet)


def test_rate_limits_are_in_the_journal_and_told(tmp_path: Path) -> None:
    made = Maker(tmp_path / "run").write()
    limited = error(429, "slow down")
    with played(limited, limited, "It said so.", limited) as server:
        settings = ("llm.retry_wait_seconds=0.01", "llm.retry_seconds=4", "llm.requests_per_minute=6000")
        config = config_from(["llm=local", f"llm.api_base={server.base}", *settings, f"cache_dir={tmp_path}"])
        journal = Journal(tmp_path)
        brief = Brief("", "")
        team = Team(
            LiveModels(config.llm, {}, 0, tmp_path), PromptSet("improve"), journal, tmp_path, brief, lambda *_: None
        )
        team.summary(0, "a step", "")
        with pytest.raises(LLMError):
            team.analyst(1, "", "", {})
        journal.close()
    assert list((tmp_path / "rates").iterdir())
    call, lost = read(tmp_path / "journal.jsonl")[0]
    assert (call.kind, call.data["retries"]) == ("llm", {"429": 2})
    assert (lost.kind, lost.data["role"]) == ("unanswered", "analyst")
    assert lost.data["retries"]["429"] >= 1
    records = [*read(made / "journal.jsonl")[0], call, lost]
    history = History.of(records)
    assert history.rate_limited == 2 + lost.data["retries"]["429"]
    assert any("HTTP 429" in text and "llm.requests_per_minute" in text for text in asking(history))
