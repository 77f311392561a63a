"""`python -m tests.support.short_runs …`: improve.run, whose runs are short: a journal of four steps, no training.

What goes wrong with a run is said by `SHORT_RUNS`, a JSON object from the run's seed to one of: "bug", "provider",
"unscored", "wait" (until it is stopped). All around the runs is the real thing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import improve.report.study
import improve.session
import improve.study.results
from improve.config.decisive import settings
from improve.config.schema import Config
from improve.errors import LLMError, RunFailed
from improve.record.folders import earlier_attempts, folder_of, make_folder
from improve.record.journal import Journal
from improve.record.provenance import code_hash
from improve.run import main
from improve.signals import stopped_by_signals


def run(config: Config, resume: str | None = "") -> Path:
    """In place of `improve.session.run`."""
    fault = json.loads(os.environ.get("SHORT_RUNS", "{}")).get(str(config.seed), "")
    folder = folder_of(config)
    make_folder(folder)
    journal = Journal(folder)
    try:
        with stopped_by_signals():
            _steps(config, journal, folder, fault)
    finally:
        journal.close()
    if fault == "unscored":
        raise RunFailed("none of 1 pipelines could be scored.", "a stronger model may help")
    return folder


def _steps(config: Config, journal: Journal, folder: Path, fault: str) -> None:
    record: dict[str, Any] = {"config": settings(config), "code": code_hash(), "notes": earlier_attempts(folder)}
    journal.once("run", "run", lambda: record)
    journal.once("call-0", "llm", lambda: {"iteration": 0, "usd": 0.25, "process": os.getpid()})
    if fault == "wait":
        print("waiting", flush=True)
        time.sleep(300)
    if fault == "bug":
        raise ValueError("a number that is none")
    if fault == "provider":
        raise LLMError("the provider is out of reach.", "try again later")
    journal.once("verdict-0", "verdict", lambda: {"iteration": 0})
    journal.once("finished", "finished", lambda: {"best": None if fault == "unscored" else 0})


improve.session.run = run
# Journals this short hold too little for a report; tests/test_readme.py has a study with one.
improve.report.study.write_study = lambda paths, out: out
improve.study.results.print_results = lambda folders: None

if __name__ == "__main__":
    sys.exit(main())
