"""The middle of an estimate: from runs on record, else from the calls of a real model in the tests' cassette."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from improve.commands.dry_run import visible
from improve.commands.typical import SHIPPED, habits, kind_of_role, of_records
from improve.config.compose import config_from
from improve.config.schema import StrategyConfig
from improve.datasets import DOWNLOADS, at_hand
from improve.llm import cassette
from improve.record.journal import Journal
from improve.strategies import find
from tests.support.paths import ROOT

CASSETTE = ROOT / "tests" / "cassettes" / "qwen2.5-coder-1.5b-digits.json"


def test_what_is_shipped_is_what_the_cassette_counts() -> None:
    recorded = cassette.read(CASSETTE)
    made: Counter[str] = Counter(kind_of_role(call.role) for call in recorded.calls)  # type: ignore[arg-type]
    first, later = find("iterative").calls(StrategyConfig("iterative", recorded.last_iteration))
    for who, count in made.items():
        lowest = first[who] + recorded.last_iteration * later[who]  # type: ignore[index]
        assert SHIPPED[who].calls * lowest == pytest.approx(count) if who in SHIPPED else count == lowest  # type: ignore[index]


def on_record(folder: Path, model: str, engineers: int, written: int) -> None:
    """A run of one iteration with so many calls of engineers."""
    folder.mkdir(parents=True)
    journal = Journal(folder)
    strategy = {"name": "iterative", "iterations": 1, "unified_initialization": True, "repairs": 2}
    journal.once("run", "run", lambda: {"config": {"strategy": strategy}})
    roles = ["architect", "summarizer", "analyst", *["model_engineer"] * engineers, "summarizer"]
    for number, role in enumerate(roles):
        tokens = {"input": 1000, "output": written}
        call = {"role": role, "model": model, "tokens": tokens, "iteration": int(number > 1), "replay": ""}
        journal.once(f"call-{number}", "llm", lambda call=call: call)  # type: ignore[misc]
    for number in (0, 1):
        journal.once(f"verdict-{number}", "verdict", lambda n=number: {"iteration": n})  # type: ignore[misc]
    journal.close()


def test_runs_of_the_same_model_come_first_then_those_of_others(tmp_path: Path) -> None:
    assert habits(tmp_path / "none", "openai/x").usual == SHIPPED
    on_record(tmp_path / "a", "offline/expert", 1, 10)
    assert habits(tmp_path, "openai/x").usual == SHIPPED
    on_record(tmp_path / "b", "openai/y", 2, 500)
    other = habits(tmp_path, "openai/x")
    assert (other.usual["engineer"].calls, other.usual["engineer"].written) == (2, 500)
    assert "other language models" in other.basis
    on_record(tmp_path / "c", "openai/x", 3, 900)
    own = habits(tmp_path, "openai/x")
    assert (own.usual["engineer"].calls, own.usual["architect"].written) == (3, 900)
    assert "7 calls of openai/x" in own.basis
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "journal.jsonl").write_text("damaged\nlines\n")
    assert habits(tmp_path, "openai/x").usual == own.usual
    assert of_records([]) is None


def test_what_a_failed_download_leaves_is_not_at_hand(tmp_path: Path) -> None:
    config = config_from(["dataset=cifar10", f"cache_dir={tmp_path}"])
    folder = tmp_path / DOWNLOADS / "cifar10"
    assert not at_hand(config.dataset, tmp_path)
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    assert not at_hand(config.dataset, tmp_path)
    (folder / "cifar-10-python.tar.gz").write_bytes(b"")
    (folder / "cifar-10-python.tar.gz.part").write_bytes(b"half")
    assert not at_hand(config.dataset, tmp_path)
    assert visible(config).source == "digits"
    (folder / "cifar-10-python.tar.gz").write_bytes(b"whole")
    assert at_hand(config.dataset, tmp_path)


TRIPWIRE = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("TOUCHED", arguments, file=sys.stderr)
sys.addaudithook(watch)
from improve.run import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_dry_run_downloads_nothing_and_has_a_typical_cost_within_its_range(tmp_path: Path) -> None:
    where = (f"outputs={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}", "dry_run=true")
    command = [sys.executable, "-c", TRIPWIRE, "dataset=cifar10", "llm=gpt-4o", *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "TOUCHED" not in done.stderr
    assert "not at hand" in done.stderr
    assert not (tmp_path / "cache" / DOWNLOADS / "cifar10").exists()
    total = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["all"])
    low, high = (float(number) for number in re.findall(r"([\d.]+) to ([\d.]+) USD", total)[0])
    said = re.search(r"^Typically .* tokens, ([\d.]+) USD\.$", done.stdout, re.MULTILINE)
    assert said is not None, done.stdout
    typical = float(said[1])
    assert low < typical < high
    assert "17 calls on record" in done.stdout
