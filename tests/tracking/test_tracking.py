"""A run in W&B, read back from what wandb wrote and what it sent; and that nothing of it hurts a run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from improve.config.invocation import script_command
from improve.config.schema import TrackingConfig
from improve.display.text import interval, percent
from improve.errors import ConfigError
from improve.record.history import History
from improve.report import write_run_page
from improve.tracking import Tracker, check_installed, content
from improve.tracking.tracker import installed
from tests.support.made_run import Maker
from tests.support.wandb_server import serving

SYNC = script_command("wandb", "sync")  # a shell may not find it under its bare name

needs_wandb = pytest.mark.skipif(not installed(), reason='wandb is not installed: pip install ".[wandb]"')
LLM_KEY, WANDB_KEY = "canary-of-the-language-model", "canaryofwandb".ljust(40, "0")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", LLM_KEY)
    monkeypatch.setenv("WANDB_API_KEY", WANDB_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")


def history(folder: Path, **settings: Any) -> History:
    return History.read(Maker(folder, **settings).write())


def track(tracker: Tracker, maker: Maker) -> float:
    """Go through a run with a real journal; gives the seconds for which its end waited for the tracking."""
    maker.replay(tracker.record)
    if "finished" in (maker.folder / "journal.jsonl").read_text():
        write_run_page(maker.folder)
        best = maker.folder / "best"
        if not best.exists():
            best.mkdir()
            (best / "weights.safetensors").write_bytes(b"weights")
            (best / "link").symlink_to("/etc/passwd")
    began = time.monotonic()
    tracker.finish()
    return time.monotonic() - began


def read_back(folder: Path) -> list[dict[str, Any]]:
    """The records of the one offline run in a run's folder."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in records if record["type"] == kind]


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


# ── what is logged ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_known_is_left_out_and_never_zero(tmp_path: Path) -> None:
    run = history(tmp_path, llm="m", usd=None)
    failed, scored = run.iterations[5], run.iterations[1]
    row = content.row(run, failed)
    assert row["verdict"] == "failed"
    assert row["failure"] == "timeout"
    assert not {"selection/accuracy", "selection/gain", "usd/iteration", "usd/total"} & set(row)
    assert row["selection/best"] == run.iterations[3].accuracy
    assert content.row(run, scored)["selection/accuracy"] == scored.accuracy
    assert "usd/total" not in content.summary(run)
    assert content.summary(run)["usd/unpriced"] == ["m/expert"]


def test_totals_add_up_to_the_runs_own(tmp_path: Path) -> None:
    run = history(tmp_path, llm="m", usd=0.5)
    rows = [content.row(run, iteration) for iteration in run.iterations]
    assert rows[-1]["tokens/total"] == sum(row["tokens/iteration"] for row in rows) == run.costs.total_tokens
    assert rows[-1]["usd/total"] == pytest.approx(run.usd)
    assert [row["selection/best"] for row in rows] == sorted(row["selection/best"] for row in rows)


def test_marks_stand_beside_the_scores(tmp_path: Path) -> None:
    run = history(tmp_path / "a", verified=False, protocol="paper")
    assert content.marks(run) == [
        "rule-based expert, no language model",
        "unverified (no sandbox)",
        "protocol: paper (selected on the test set)",
    ]
    assert {"tier": "T0", "verified": False, "rule_based": True}.items() <= content.summary(run).items()
    assert content.summary(run)["protocol"] == "protocol: paper (selected on the test set)"
    assert content.marks(history(tmp_path / "b", llm="m")) == []


def test_the_group_is_the_study_and_the_name_in_urls_is_the_runs_own(tmp_path: Path) -> None:
    run, again = history(tmp_path / "a"), history(tmp_path / "b")
    assert (content.group(run), content.job_type(run)) == ("shapes", "iterative")
    run.run["study"] = "table1"
    assert content.group(run) == "table1"
    assert content.run_id(run) == content.run_id(again)
    again.run["name"] += "/?#"
    assert content.run_id(run) != content.run_id(again)
    assert not set(content.run_id(again)) & set("/\\#?%:")


# ── what is written and sent ──────────────────────────────────────────────────────────────────────────────────────


@needs_wandb
def test_a_run_is_written_uploaded_and_read_back(tmp_path: Path) -> None:
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", server.url)
        tracker = Tracker(TrackingConfig("wandb", "proj", tags=["mine"], wait_seconds=60), tmp_path)
        maker = Maker(tmp_path)
        track(tracker, maker)
        assert tracker.said == f"uploaded: {server.url}/us/proj/runs/{content.run_id(History.read(tmp_path))}"
        sent = len(server.sent)
        again = Tracker(TrackingConfig("wandb", "proj", tags=["mine"], wait_seconds=60), tmp_path)
        track(again, maker)
        assert again.said == tracker.said
        assert len(server.sent) == sent, "what is uploaded is not uploaded again"
    records, run = read_back(tmp_path), server.runs[0]
    written = of(records, "run")[0]
    assert (written["run_group"], written["job_type"], written["project"]) == ("shapes", "iterative", "proj")
    assert (run["groupName"], run["jobType"], run["project"]) == ("shapes", "iterative", "proj")
    assert set(written["tags"]) == {"mine", "rule-based expert, no language model"}

    # The iteration is the axis, each iteration is there once, and the curves have an axis of their own.
    rows = [item["item"] for item in of(records, "history")]
    assert [server.rows[offset].get("iteration") for offset in sorted(server.rows)] == [
        r.get("iteration") for r in rows
    ]
    assert [row["iteration"] for row in rows if "verdict" in row] == list(range(9))
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in of(records, "metric")}
    assert axes["*"] == "iteration"
    assert axes["self-reported/*"] == "self-reported/epochs_of_the_run"
    check_curves(rows, tmp_path)

    (result,) = (item["update"] for item in of(records, "summary") if "data/fingerprint" in item["update"])
    best = History.read(tmp_path).best_test
    assert best is not None
    assert [result[f"test/best/{key}"] for key in ("accuracy", "low", "high")] == [
        best["accuracy"],
        best["low"],
        best["high"],
    ]
    artifacts = {artifact["type"]: artifact for artifact in of(records, "artifact")}
    assert set(artifacts) == {"run_table", "pipeline", "model"}
    assert [entry["path"] for entry in artifacts["model"]["manifest"]["contents"]] == ["weights.safetensors"]  # no link
    assert {"data.py", "model.py", "training.py", "weights.safetensors", "iterations.table.json"} <= server.files
    assert any(name.startswith("media/html/page") for name in server.files)
    table = json.loads(next(tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")).read_text())
    diff = dict(zip(table["columns"], table["data"][6], strict=True))["diff"]
    assert diff.startswith("--- data.py\n@@")

    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    for canary in (LLM_KEY, WANDB_KEY):
        assert not any(canary.encode() in text for text in (*everything, *server.sent))


def check_curves(rows: list[dict[str, Any]], folder: Path) -> None:
    """One set of panels, however many candidates there were: a few keys, and a chart of all their lines a quantity."""
    curves = [row for row in rows if "self-reported/train_loss" in row]
    assert [row["self-reported/epochs_of_the_run"] for row in curves] == list(range(1, len(curves) + 1))
    own = [row["self-reported/epoch"] for row in curves if row["self-reported/iteration"] == 3]
    assert own == list(range(1, 13))
    names = {key.removeprefix("self-reported/") for row in rows for key in row if key.startswith("self-reported/")}
    assert names == {"iteration", "epoch", "epochs_of_the_run", "train_loss"}  # of all that the made run's rows have
    charts = {key.split(".")[0] for row in rows for key in row if key.startswith("curves/")}
    assert charts == {"curves/train_loss_table"}
    (file,) = folder.glob("wandb/offline-run-*/files/media/table/curves/*.json")
    lines = json.loads(file.read_text())["data"]
    assert Counter(name for _, name, _ in lines)["003 training"] == 12


@needs_wandb
def test_a_run_of_a_sweep_is_the_one_that_the_agent_asked_for(tmp_path: Path) -> None:
    """As `wandb agent` starts it: the sweep, and the run's own name in it, come by the environment."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", server.url)
        for name, value in {"SWEEP_ID": "s1", "RUN_ID": "r1", "PROJECT": "swept"}.items():
            patch.setenv(f"WANDB_{name}", value)
        tracker = Tracker(TrackingConfig("wandb", "proj", wait_seconds=60), tmp_path)
        track(tracker, Maker(tmp_path))
        assert tracker.said == f"uploaded: {server.url}/us/swept/runs/r1"
    (written,) = of(read_back(tmp_path), "run")
    assert [written[key] for key in ("sweep_id", "run_id", "project")] == ["s1", "r1", "swept"]
    assert [server.runs[0][key] for key in ("sweep", "name", "project")] == ["s1", "r1", "swept"]
    assert (
        Tracker(TrackingConfig("wandb"), tmp_path)._environment().keys().isdisjoint({"WANDB_SWEEP_ID", "WANDB_RUN_ID"})
    )


@needs_wandb
def test_a_killed_process_hurts_no_run_and_a_resumed_run_has_each_iteration_once(tmp_path: Path) -> None:
    """The first session's process is killed when it has logged something; the run is resumed and ends."""

    class Stopped(Exception):
        pass

    maker, tracker = Maker(tmp_path), Tracker(TrackingConfig("wandb_offline", wait_seconds=30), tmp_path)

    def stop(record: Any) -> None:
        if record.key == "proposal-3":
            until = time.monotonic() + 60
            while not any(file.stat().st_size > 4000 for file in tmp_path.glob("wandb/offline-run-*/run-*.wandb")):
                assert time.monotonic() < until, "nothing was logged"
                time.sleep(0.1)
            raise Stopped

    with pytest.raises(Stopped):
        maker.replay(tracker.record, stop)
    assert tracker._process is not None
    tracker._process.kill()
    tracker.finish()
    assert tracker.said.startswith("its process ended early (exit code -9)")
    assert f"-m improve.tracking {tmp_path}" in tracker.said

    resumed = Tracker(TrackingConfig("wandb_offline", wait_seconds=60), tmp_path)
    track(resumed, maker)
    assert resumed.said.startswith(f"written; upload it with: {SYNC} ")
    counts = Counter(item["item"].get("iteration") for item in of(read_back(tmp_path), "history"))
    assert {number: counts[number] for number in range(9)} == dict.fromkeys(range(9), 1)


@needs_wandb
def test_a_report_is_saved_and_says_what_the_journals_say(tmp_path: Path) -> None:
    Maker(tmp_path / "table1" / "a", protocol="paper").write()
    Maker(tmp_path / "table1" / "b", llm="m").write(stop_before="test-first")
    command = [sys.executable, "-m", "improve.cli", "report", "--wandb", str(tmp_path), "--project", "proj"]
    with serving() as server:
        environment = {**os.environ, "WANDB_BASE_URL": server.url}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith(f"{server.url}/us/proj/reports/")
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("us", "proj", "runs")
    blocks = json.loads(view["spec"])["blocks"]
    (text,) = (block["content"] for block in blocks if block["type"] == "markdown-block")
    best = History.read(tmp_path / "table1" / "a").best_test
    assert best is not None
    assert f"| {percent(best['accuracy'])} ({interval(best['low'], best['high'])}) |" in text
    assert "protocol: paper (selected on the test set)" in text
    assert "| not yet | not yet |" in text
    (grid,) = (block["metadata"] for block in blocks if block["type"] == "panel-grid")
    assert '"group"' in json.dumps(grid["runSets"])
    assert "shapes" in json.dumps(grid["runSets"])
    assert not any(WANDB_KEY.encode() in sent for sent in server.sent)


@needs_wandb
def test_of_a_stopped_run_the_upload_is_not_waited_for_but_told(tmp_path: Path) -> None:
    maker = Maker(tmp_path)

    def stop(record: Any) -> None:
        if record.key == "verdict-3":
            raise InterruptedError

    with serving(answers=False) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", server.url)
        tracker = Tracker(TrackingConfig("wandb", wait_seconds=60, sync_seconds=3), tmp_path)
        with pytest.raises(InterruptedError):
            maker.replay(tracker.record, stop)
        began = time.monotonic()
        tracker.finish(stopped=True)
        assert time.monotonic() - began < 30
        assert tracker.said.startswith(f"the upload goes on by itself; if it fails: {SYNC} ")
        assert tracker._process is not None
        assert gone([psutil.Process(tracker._process.pid)], 60)


# ── what must not hurt a run ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@needs_wandb
def test_a_server_that_hangs_costs_a_run_a_few_seconds(tmp_path: Path) -> None:
    """One that refuses connections is in test_offline_run.py, with a real run."""
    # The run has been logged before, so that the upload is all that is left.
    maker = Maker(tmp_path)
    track(Tracker(TrackingConfig("wandb_offline", wait_seconds=60), tmp_path), maker)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = Tracker(TrackingConfig("wandb", wait_seconds=60), tmp_path)
        assert track(tracker, maker) < 15
    assert f"does not answer within 4 s; later: {SYNC} " in tracker.said
    # A server that answers, but not to what it is asked: the upload goes on without the run, and ends by itself.
    with serving(answers=False) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", server.url)
        tracker = Tracker(TrackingConfig("wandb", wait_seconds=3, sync_seconds=6), tmp_path)
        assert track(tracker, maker) < 5
        assert tracker.said.startswith(f"the upload goes on by itself; if it fails: {SYNC} ")
        assert tracker._process is not None
        process = psutil.Process(tracker._process.pid)
        assert gone([*process.children(recursive=True), process], 60)
    assert "not uploaded: the upload took more than 6 s" in (tmp_path / "wandb" / "tracking.log").read_text()


@needs_wandb
def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    tracker = Tracker(TrackingConfig("wandb_offline", wait_seconds=1), tmp_path)
    maker = Maker(tmp_path)
    maker.replay(tracker.record)
    assert tracker._process is not None
    os.kill(tracker._process.pid, signal.SIGSTOP)
    assert track(tracker, maker) < 5
    assert tracker._process.returncode == -signal.SIGKILL
    assert "did not end within 1 s; later: " in tracker.said


@needs_wandb
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    Maker(tmp_path).write()
    # wandb itself says nothing when it cannot write: here, files end at 8 KiB.
    command = f"ulimit -f 8; exec {sys.executable} -m improve.tracking {tmp_path}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "error: " in done.stdout
    assert "Traceback" not in done.stderr


def test_a_folder_named_wandb_is_no_wandb_and_a_run_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "modules", {name: m for name, m in sys.modules.items() if name.split(".")[0] != "wandb"})
    with pytest.raises(ConfigError, match=r"tracking=wandb needs wandb"):
        check_installed(TrackingConfig("wandb"))
    check_installed(TrackingConfig("none"))
