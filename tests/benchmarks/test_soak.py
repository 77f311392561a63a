"""The soak in small: a few iterations with faults and attacks leave nothing behind, and every number holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.soak import soak
from improve.sandbox import remove


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_iterations_with_faults_and_attacks(capsys: pytest.CaptureFixture[str]) -> None:
    base = Path(tempfile.mkdtemp(prefix="soak-"))  # its paths are looked for in other processes: not pytest's
    wrong, memory = soak(4, 1, base)
    assert not wrong
    assert memory
    assert "5 iterations, 5 verdicts" in capsys.readouterr().out
    remove(base)
