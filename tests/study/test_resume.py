"""Studies of short runs, all else is real: they resume, try again, go on, and say what became of each run."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

from improve.errors import DataError, Interrupted
from improve.record.folders import TRACEBACKS
from improve.record.journal import JOURNAL, read
from improve.study.outcome import Outcome, State
from tests.support.paths import ROOT

Done = subprocess.CompletedProcess[str]


def start(outputs: Path, *arguments: str, faults: dict[int, str] | None = None) -> subprocess.Popen[str]:
    program = ("-m", "tests.support.short_runs", "-m", "dataset=digits", "study=trial")
    return subprocess.Popen(
        [sys.executable, *program, *arguments, f"outputs={outputs}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SHORT_RUNS": json.dumps(faults or {})},
    )


def study(outputs: Path, *arguments: str, faults: dict[int, str] | None = None) -> Done:
    process = start(outputs, *arguments, faults=faults)
    output, errors = process.communicate(timeout=100)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def folder(outputs: Path, seed: int) -> Path:
    return next((outputs / "trial").glob(f"*-seed{seed}-*"))


def steps(outputs: Path, seed: int) -> list[str]:
    return [record.key for record in read(folder(outputs, seed) / JOURNAL)[0]]


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(process.communicate())


ALL = ["run", "call-0", "verdict-0", "finished"]


def test_a_failing_run_stops_no_other_and_goes_on_without_paying_twice(tmp_path: Path) -> None:
    first = study(tmp_path, "seed=range(5)", faults={1: "provider", 2: "bug", 3: "unscored"})
    assert first.returncode == 7, first.stderr  # the highest of theirs
    assert "5 runs in" in first.stdout
    assert "2 done, 3 failed" in first.stdout
    assert "the provider is out of reach" in first.stdout
    assert "a bug: ValueError: a number that is none" in first.stdout
    assert "3 of 5 runs failed" in first.stderr
    assert first.stderr.count("Traceback") == 1
    assert "ValueError: a number that is none" in (folder(tmp_path, 2) / TRACEBACKS).read_text()
    assert [steps(tmp_path, seed) for seed in range(5)] == [ALL, ALL[:2], ALL[:2], ALL, ALL]
    calls = [read(folder(tmp_path, seed) / JOURNAL)[0][1] for seed in range(5)]

    second = study(tmp_path, "seed=range(5)")
    # A run whose pipelines all failed has a result, which would flatter a table if it were tried until it is better.
    assert second.returncode == 7, second.stderr
    assert "2 done, 2 skipped, 1 failed" in second.stdout
    assert "none of its pipelines (1) could be scored, which is this run's result" in second.stdout
    assert "retry_failed=true" in second.stdout
    assert [steps(tmp_path, seed) for seed in range(5)] == [ALL] * 5
    # The replies are those of the first time, also of the runs that went on.
    assert [read(folder(tmp_path, seed) / JOURNAL)[0][1] for seed in range(5)] == calls


def test_a_mistake_in_one_cell_is_its_sentence_alone(tmp_path: Path) -> None:
    done = study(tmp_path, "seed=0", "strategy.iterations=2,-1")
    assert done.returncode == 2
    assert "1 done, 1 failed" not in done.stderr
    assert "1 failed" in done.stdout
    assert "strategy.iterations=-1 is too small" in done.stdout
    assert steps(tmp_path, 0) == ALL


def test_finished_runs_are_skipped_at_once_also_by_other_code(tmp_path: Path) -> None:
    assert study(tmp_path, "seed=0").returncode == 0
    path = folder(tmp_path, 0) / JOURNAL
    before = path.stat()
    program = (
        "import sys\nfrom improve.run import main\nimport improve.record.provenance, improve.report.study\n"
        "import improve.study.results\n"
        "improve.record.provenance.code_hash = lambda: 'other'\n"
        "improve.report.study.write_study = lambda paths, out: out\n"
        "improve.study.results.print_results = lambda folders: None\n"
        "code = main(sys.argv[1:])\n"
        "print('HEAVY', [name for name in ('torch', 'litellm', 'improve.session') if name in sys.modules])\n"
        "sys.exit(code)"
    )
    arguments = ["-m", "dataset=digits", "study=trial", "seed=0", f"outputs={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "1 skipped" in done.stdout
    assert "finished by other code of improve" in done.stdout
    assert "HEAVY []" in done.stdout
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_kill_9_in_the_middle_and_the_same_command(tmp_path: Path) -> None:
    process = start(tmp_path, "seed=range(3)", faults={1: "wait"})
    wait_for(process, "waiting")
    process.kill()
    process.communicate(timeout=30)
    first = (folder(tmp_path, 0) / JOURNAL).read_bytes()
    assert steps(tmp_path, 1) == ALL[:2]
    done = study(tmp_path, "seed=range(3)")
    assert done.returncode == 0, done.stderr
    assert "2 done, 1 skipped" in done.stdout
    assert (folder(tmp_path, 0) / JOURNAL).read_bytes() == first
    assert [steps(tmp_path, seed) for seed in range(3)] == [ALL] * 3


def test_an_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, "seed=range(3)", faults={1: "wait"})
    wait_for(process, "waiting")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "1 done, 1 stopped, 1 not started" in output
    assert re.search(r"Go on with:\n  \S+ run -m .*'?seed=range\(3\)'?", errors)
    assert "Traceback" not in errors


def test_two_studies_at_once_do_each_run_once(tmp_path: Path) -> None:
    one = start(tmp_path, "seed=range(3)", faults={0: "wait"})
    wait_for(one, "waiting")
    other = study(tmp_path, "seed=range(3)")
    assert other.returncode == 0, other.stderr
    assert "2 done, 1 skipped" in other.stdout
    assert f"is in use by process {one.pid}" in other.stdout
    one.send_signal(signal.SIGTERM)
    output, _ = one.communicate(timeout=30)
    assert one.returncode == 143
    # What the other has finished meanwhile is told from its folders.
    assert "2 done, 1 stopped" in output


def test_a_launcher_of_other_processes(tmp_path: Path, cache: Path) -> None:
    arguments = ["-m", "hydra/launcher=joblib", "dataset=digits", "llm=gpt-4o", "seed=range(2)", f"outputs={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "IMPROVE_CACHE": str(cache), "OPENAI_API_KEY": ""},
        timeout=280,
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "2 runs in " in done.stdout
    assert ": 2 failed" in done.stdout
    assert re.search(r"failed 2 runs \(digits-iterative-gpt_4o-\S+, …\): .*OPENAI_API_KEY", done.stdout)


def test_what_travels_between_processes_arrives() -> None:
    for sent in (Outcome("a", State.FAILED, "no\n  fix: yes", 4), Interrupted(2), DataError("no", "yes")):
        got = pickle.loads(pickle.dumps(sent))
        assert (type(got), vars(got), str(got)) == (type(sent), vars(sent), str(sent))
