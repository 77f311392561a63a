"""A run of a study that ended without a score, or that cannot go on, is started again only if that is asked for."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.display.sentences import warnings
from improve.record.folders import EARLIER_JOURNAL, SET_ASIDE
from improve.record.history import History
from improve.record.journal import JOURNAL, lines, read
from tests.support.scripted_llm import scripted_llm


def made_by_other_code(journal: Path, step: str = "") -> None:
    """As if another version had begun the run, whose last step is perhaps called otherwise, and had been killed."""
    first, *others = read(journal)[0]
    first = dataclasses.replace(first, data={**first.data, "code": "0" * 64})
    kept = [record for record in others if record.kind not in ("finished", "code")]
    kept[-1] = dataclasses.replace(kept[-1], key=step or kept[-1].key)
    journal.write_text("".join(lines((first, *kept))))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_paid_is_kept_and_said(tmp_path: Path, cache: Path) -> None:
    with scripted_llm(lambda system, user: "I would rather not.") as server:
        arguments = ["-m", "dataset=digits", "strategy=zero_shot", "llm=local", f"llm.api_base={server.base}"]
        arguments += [f"outputs={tmp_path}", "display=none", "llm.usd_per_million_input=1"]

        def study(*more: str) -> tuple[int, str, int]:
            before = len(server.requests)
            done = subprocess.run(
                [sys.executable, "-m", "improve.run", *arguments, "llm.usd_per_million_output=1", *more],
                capture_output=True,
                text=True,
                timeout=100,
                env={**os.environ, "IMPROVE_CACHE": str(cache)},
            )
            return done.returncode, done.stdout + done.stderr, len(server.requests) - before

        code, said, asked = study()
        assert (code, asked > 0) == (7, True), said
        (folder,) = (path.parent for path in tmp_path.glob(f"*/{JOURNAL}"))
        paid = (folder / JOURNAL).read_bytes()

        code, said, again = study("retry_failed=true")
        assert (code, again) == (7, asked), said
        (earlier,) = (folder / SET_ASIDE).iterdir()
        assert (earlier / EARLIER_JOURNAL).read_bytes() == paid
        assert list((earlier / "calls").glob("*.md"))
        notes = " ".join(read(folder / JOURNAL)[0][0].data["notes"])
        assert f"in an earlier attempt no pipeline could be scored. That one asked {asked} times for 0.0" in notes
        assert len(list(tmp_path.rglob(JOURNAL))) == 1  # an attempt that was given up is no run to a report

        made_by_other_code(folder / JOURNAL)
        # The steps are the same: nobody is asked again, and the record says what happened.
        code, said, again = study("retry_failed=true")
        assert (code, again) == (7, 0), said
        assert len(list((folder / SET_ASIDE).iterdir())) == 1
        assert "The code of improve changed in the middle of this run" in " ".join(warnings(History.read(folder)))

        made_by_other_code(folder / JOURNAL, step="summary-of-old")
        code, said, again = study("retry_failed=true")
        assert (code, again) == (7, asked), said
        assert len(list((folder / SET_ASIDE).iterdir())) == 2
        assert "it broke off (pipelines judged: 1)" in " ".join(read(folder / JOURNAL)[0][0].data["notes"])
