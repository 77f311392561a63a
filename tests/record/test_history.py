"""`History`: a journal's records as one view of a run, finished, going on, or killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from improve.domain import Verdict
from improve.errors import ResumeError
from improve.record.history import History
from improve.record.journal import JOURNAL, Record, read
from tests.support.made_run import STORY, Maker


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "run")


def test_a_finished_run_is_read_whole(maker: Maker) -> None:
    history = History.read(maker.write())
    assert history.is_finished
    assert history.best == 6
    assert [iteration.outcome for iteration in history.iterations] == [Verdict(step.verdict) for step in STORY]
    assert [iteration.label for iteration in history.iterations[:4]] == ["first", "model", "data", "training"]
    assert len(history.judged) == 8
    assert [history.count(verdict) for verdict in Verdict] == [3, 0, 1, 0, 2, 2]
    assert history.first_test is not None
    assert history.best_test is not None
    assert history.best_test["accuracy"] > history.first_test["accuracy"]


def test_each_iteration_is_measured_against_the_incumbent_of_its_time(maker: Maker) -> None:
    history = History.read(maker.write())
    assert [iteration.incumbent for iteration in history.iterations] == [None, 0, 1, 1, 3, 3, 3, 6, 6]
    gains = [iteration.gain for iteration in history.iterations]
    assert gains[0] is None
    assert gains[1] == pytest.approx((1342 - 1224) / 2000)
    assert gains[3] == pytest.approx((1566 - 1342) / 2000)
    assert gains[5] is None  # it failed: nothing is made up for it


def test_failures_and_repairs_are_found(maker: Maker) -> None:
    history = History.read(maker.write())
    in_training, in_checks = history.iterations[5], history.iterations[7]
    assert in_training.failure is not None
    assert in_training.failure["reason"] == "timeout"
    assert in_checks.failure is not None
    assert in_checks.failure["reason"] == "shape"
    assert in_checks.training is None
    assert (history.iterations[4].repairs, in_checks.repairs) == (1, 2)
    assert history.iterations[4].failure is None  # repaired


def test_costs_add_up(maker: Maker) -> None:
    records = list(maker.records())
    history = History.read(maker.write())
    calls = [data for _, kind, data, _ in records if kind == "llm"]
    assert len(history.calls) == len(calls)
    assert history.tokens["input"] == sum(call["tokens"]["input"] for call in calls)
    per_iteration = sum(iteration.tokens for iteration in history.iterations)
    assert per_iteration == history.tokens["input"] + history.tokens["output"]
    assert history.seconds == 203.5


def test_one_unknown_price_makes_the_whole_cost_unknown(tmp_path: Path) -> None:
    known = History.read(Maker(tmp_path / "known", llm="gpt-4o", usd=0.01).write())
    assert known.usd == pytest.approx(0.01 * len(known.calls))
    assert not known.rule_based
    records = [Record(key, kind, dict(data), "", s) for key, kind, data, s in Maker(tmp_path, usd=0.01).records()]
    next(record for record in records if record.kind == "llm").data["usd"] = None
    assert History.of(records).usd is None


def test_a_killed_run_reads_at_every_point(maker: Maker) -> None:
    records = read(maker.write() / JOURNAL).records
    for length in range(1, len(records)):
        history = History.of(records[:length])
        assert not history.is_finished
        assert sum(len(iteration.calls) for iteration in history.iterations) == len(history.calls)
    assert History.read(maker.write("verdict-3")).best == 1
    assert History.read(maker.write("test-first")).best == 6
    assert History.read(maker.write("verdict-0")).best is None
    assert History.read(maker.write("test-first")).seconds > 100  # the sum of its steps


def test_a_torn_last_line_is_left_out(maker: Maker) -> None:
    whole = History.read(maker.write())
    path = maker.folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-20])
    torn = History.read(maker.folder)
    assert torn.finished is None
    assert torn.iterations == whole.iterations


def test_a_folder_without_a_run_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="holds no run"):
        History.read(tmp_path)
    (tmp_path / JOURNAL).touch()
    with pytest.raises(ResumeError, match="no run yet"):
        History.read(tmp_path)


def test_only_the_offline_expert_is_called_rule_based(tmp_path: Path) -> None:
    assert History.read(Maker(tmp_path / "a").write()).rule_based
    assert not History.read(Maker(tmp_path / "b", llm="o1", usd=None).write()).rule_based
    assert History.read(Maker(tmp_path / "c", protocol="paper").write()).paper_protocol
