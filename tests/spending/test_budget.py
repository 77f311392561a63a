"""Budgets: never exceeded, counted over all sessions, checked before anything is asked; and replies paid once."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from improve.agents.team import Team
from improve.config import decisive
from improve.config.schema import BudgetConfig, Config
from improve.domain import Prompt
from improve.errors import BudgetError, ConfigError
from improve.record.journal import JOURNAL, Journal, read
from improve.spending.budget import STOP, Budget, BudgetUsed, Training, check_prices
from improve.spending.worst_case import most_input_tokens
from tests.support.scripted_llm import Answer, Asked, ScriptedServer, completion, scripted_llm, serving
from tests.support.small_team import MOST_WRITTEN, PRICED, small_team

READ, WRITTEN = PRICED["usd_per_million_input"] / 1e6, PRICED["usd_per_million_output"] / 1e6


class Provider:
    """A server, and what its next replies report: a usage each, or that it counts no tokens."""

    def __init__(self) -> None:
        self.usages: Iterator[dict[str, Any]] = iter(())

    def script(self, asked: Asked) -> Answer:
        return completion("It did what was asked.", usage=next(self.usages))


NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.fixture(scope="module")
def provider() -> Iterator[tuple[Provider, ScriptedServer]]:
    made = Provider()
    with serving(made.script) as server:
        yield made, server


def usage(system_and_user: tuple[str, str], read_share: float, written: int) -> dict[str, Any]:
    """What a provider may report: up to a token for each byte of the prompt and a few around it."""
    read = round(read_share * most_input_tokens(Prompt(*system_and_user)))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def talk(team: Team) -> None:
    for number in range(100):
        team.summary(number, "step: 1", "")


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    shares=st.lists(st.floats(0.2, 1), min_size=1, max_size=8),
    written=st.lists(st.integers(20, MOST_WRITTEN), min_size=1, max_size=8),
    counted=st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_a_budget_in_usd_is_never_exceeded_whatever_the_server_reports(
    provider: tuple[Provider, ScriptedServer], shares: list[float], written: list[int], counted: list[bool]
) -> None:
    made, server = provider

    def usages() -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            if counted[number % len(counted)]:
                share, tokens = shares[number % len(shares)], written[number % len(written)]
                yield usage(server.requests[-1], share, tokens)
            else:
                yield NO_TOKENS

    made.usages = usages()
    before = len(server.requests)
    with tempfile.TemporaryDirectory() as folder:
        team, journal, _ = small_team(Path(folder), server.base, BudgetConfig(usd=0.05), PRICED)
        with pytest.raises(BudgetUsed) as stop:
            talk(team)
        journal.close()
        records = read(Path(folder) / JOURNAL)[0]
    # What is truly paid: each call by its usage; where the server counts none, the worst that it can have been.
    paid, worst = 0.0, 0.0
    calls = [record.data for record in records if record.kind == "llm"]
    for call, asked in zip(calls, server.requests[before:], strict=True):
        worst = READ * most_input_tokens(Prompt(*asked)) + WRITTEN * MOST_WRITTEN
        tokens = call["tokens"]
        paid += READ * tokens["input"] + WRITTEN * tokens["output"] if any(tokens.values()) else worst
    assert paid <= 0.05
    assert paid + worst > 0.05 - worst, "it stopped long before its end"
    assert stop.value.key == "budget.usd"
    assert records[-1].kind == STOP
    assert records[-1].data["reason"].startswith("budget.usd=0.05 does not suffice")


def test_a_budget_in_tokens_holds_for_a_model_without_a_price(
    provider: tuple[Provider, ScriptedServer], tmp_path: Path
) -> None:
    made, server = provider
    made.usages = iter([{"prompt_tokens": 700, "completion_tokens": 150, "total_tokens": 850}] * 100)
    team, journal, _ = small_team(tmp_path, server.base, BudgetConfig(tokens=10_000))
    with pytest.raises(BudgetUsed, match=r"budget\.tokens=10000 does not suffice"):
        talk(team)
    journal.close()
    calls = [record.data for record in read(tmp_path / JOURNAL)[0] if record.kind == "llm"]
    assert 5 <= len(calls) <= 11
    assert all(call["usd"] is None for call in calls)


def test_a_process_killed_while_it_waits_pays_for_that_call_alone_again(tmp_path: Path) -> None:
    holding, asked = threading.Event(), threading.Event()
    count = 0

    def reply(system: str, user: str) -> str:
        nonlocal count
        count += 1
        if count == 3:
            asked.set()
            holding.wait(60)
        return f"Reply {count}."

    def start(url: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.support.small_team", str(tmp_path), url, "5"])

    with scripted_llm(reply) as server:
        process = start(server.base)
        assert asked.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        holding.set()
        assert start(server.base).wait(60) == 0
    replies = [record.data["reply"] for record in read(tmp_path / JOURNAL)[0] if record.kind == "llm"]
    assert replies == ["Reply 1.", "Reply 2.", "Reply 4.", "Reply 5.", "Reply 6."]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


TRAINING = Training(seconds=60.0, gpus=1, test_share=2.0)


def with_limits(folder: Path, clock: Clock, **limits: float) -> tuple[Budget, Journal]:
    journal = Journal(folder)
    return Budget(BudgetConfig(**limits), journal, TRAINING, clock(), clock), journal  # type: ignore[arg-type]


def scored(journal: Journal) -> None:
    journal.once("verdict-0", "verdict", lambda: {"iteration": 0, "incumbent": 0})


def test_minutes_leave_room_for_the_training_and_the_test_score(tmp_path: Path) -> None:
    clock = Clock()
    budget, journal = with_limits(tmp_path, clock, minutes=10)
    journal.once("call", "llm", lambda: {"tokens": {}, "usd": 0.0})
    scored(journal)
    # Nothing is timed yet: smoke run 30 s, fit 60 s, score and audit 30 s each, two test scores of 60 s each, 5 s.
    need = 30 + 60 + 2 * 30 + 2 * 60 + 5
    clock.now = 1000 + 600 - need - 0.1
    budget.before_call("a call", 0, 0.0, trains=True)
    clock.now += 0.2
    with pytest.raises(BudgetUsed, match="minutes are spent"):
        budget.before_call("a call", 0, 0.0, trains=True)
    journal.close()


def test_a_call_that_trains_nothing_needs_less_time(tmp_path: Path) -> None:
    clock = Clock()
    budget, journal = with_limits(tmp_path, clock, minutes=10)
    scored(journal)
    clock.now = 1000 + 600 - (2 * 60 + 5) - 0.1
    budget.before_call("the summarizer's call", 0, 0.0, trains=False)
    with pytest.raises(BudgetUsed):
        budget.before_training("a training")
    journal.close()


def test_gpu_minutes_count_what_ran_on_the_gpu(tmp_path: Path) -> None:
    clock = Clock()
    budget, journal = with_limits(tmp_path, clock, gpu_minutes=6)
    scored(journal)
    budget.before_training("a training")  # 270 s at most, of 360 s
    journal.once("training-0", "training", lambda: (time.sleep(0.2), {})[1])
    used = read(tmp_path / JOURNAL)[0][-1].seconds
    assert used >= 0.2
    journal.once("summary-0", "summary", lambda: (time.sleep(0.05), {})[1])
    assert budget.gpu_seconds == used
    journal.close()


def test_trainings_are_counted_all_kinds_of_them(tmp_path: Path) -> None:
    budget, journal = with_limits(tmp_path, Clock(), trainings=3)
    scored(journal)
    for key in ("training-0", "training-0-r1"):
        journal.once(key, "training", dict)
    assert budget.has_room("refit-0")
    budget.before_call("the summarizer's call", 0, 0.0, trains=False)
    journal.once("refit-0", "refit", dict)
    assert not budget.has_room("training-0-r2")
    budget.before_call("the summarizer's call", 0, 0.0, trains=False)
    with pytest.raises(BudgetUsed, match=r"budget\.trainings=3 .*: 3 trainings are spent, and a call may take 1 more"):
        budget.before_call("a call", 0, 0.0, trains=True)
    journal.close()


def test_a_resumed_run_counts_what_it_spent_and_stops_where_it_stopped(tmp_path: Path) -> None:
    clock = Clock()
    call = {"tokens": {"input": 900, "output": 50}, "usd": 0.04}

    def session(calls: int, **limits: float) -> None:
        budget, journal = with_limits(tmp_path, clock, **limits)
        with contextlib.closing(journal):
            scored(journal)
            for number in range(calls):
                budget.before_call("a call", 100, 0.02, trains=False)
                journal.once(f"call-{number}", "llm", lambda: dict(call))

    session(2)  # as if killed then
    with pytest.raises(BudgetUsed, match=r"0\.0800 USD are spent, and a call may take 0\.0200 more"):
        session(3, usd=0.09)
    stopped = read(tmp_path / JOURNAL)[0]
    assert stopped[-1].kind == STOP
    # Killed again before its end: the stop is on record, and a larger budget does not undo it.
    with pytest.raises(BudgetUsed, match=r"budget\.usd=0\.09 "):
        session(3, usd=5)
    assert read(tmp_path / JOURNAL)[0] == stopped


def test_a_lower_budget_does_not_undo_what_is_on_record(tmp_path: Path) -> None:
    clock = Clock()
    budget, journal = with_limits(tmp_path, clock, usd=1)
    scored(journal)
    budget.before_call("a call", 0, 0.5, trains=False)
    journal.once("call-0", "llm", lambda: {"tokens": {}, "usd": 0.5})
    journal.close()
    budget, journal = with_limits(tmp_path, clock, usd=0.1)
    scored(journal)
    budget.before_call("a call", 0, 0.5, trains=False)
    journal.once("call-0", "llm", dict)
    with pytest.raises(BudgetUsed):
        budget.before_call("a call", 0, 0.5, trains=False)
    journal.close()


def test_without_a_scored_pipeline_the_run_stays_open_for_a_larger_budget(tmp_path: Path) -> None:
    budget, journal = with_limits(tmp_path, Clock(), usd=0.01)
    with pytest.raises(BudgetError, match="No pipeline has a score yet") as error:
        budget.before_call("the architect's call", 100, 0.0234, trains=True)
    assert (tmp_path / JOURNAL).stat().st_size == 0
    journal.close()
    least = re.search(r"budget\.usd=([\d.]+) or more", error.value.fix)
    assert least is not None
    assert float(least[1]) < 0.024
    budget, journal = with_limits(tmp_path, Clock(), usd=float(least[1]))
    budget.before_call("the architect's call", 100, 0.0234, trains=True)
    journal.close()


def test_a_budget_in_usd_needs_prices() -> None:
    check_prices(BudgetConfig(usd=1), ())
    check_prices(BudgetConfig(tokens=1), ("x",))
    with pytest.raises(ConfigError, match=r"the price of x is not known") as error:
        check_prices(BudgetConfig(usd=1), ("x",))
    assert "budget.tokens" in error.value.fix


def test_a_budget_belongs_to_the_session_not_to_the_run() -> None:
    limited = dataclasses.replace(Config(), budget=BudgetConfig(usd=1), dry_run=True)
    assert decisive.settings(limited) == decisive.settings(Config())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("llm=local", "budget.usd=1"), 2, "the price of local is not known"),
        (("budget.usd=-1",), 2, "budget.usd=-1.0 is not above 0"),
        (("budget.euros=1",), 2, "there is no key 'budget.euros'"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_before_the_run(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "improve.run", "dataset=digits", *arguments, f"run_dir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
