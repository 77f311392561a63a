"""The rule-based expert through the whole program: litellm, prompts and parsing, as for a language model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from improve.record.history import History
from improve.tracking.tracker import installed

KEYS = {"OPENAI_API_KEY": "canary-of-the-language-model", "WANDB_API_KEY": "canaryofwandb".ljust(40, "0")}


@pytest.mark.slow
def test_without_unified_initialisation_the_engineers_build_on_each_other(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "run"
    arguments = (
        "dataset=digits",
        "strategy.unified_initialization=false",
        "strategy.iterations=0",
        f"run_dir={folder}",
        *(["tracking=wandb"] if installed() else []),
    )
    done = subprocess.run(
        [sys.executable, "-m", "improve.run", *arguments, "display=plain"],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "IMPROVE_CACHE": str(cache), **KEYS, "WANDB_BASE_URL": "http://127.0.0.1:1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    history = History.read(folder)
    roles = [call["role"] for call in history.calls if call["iteration"] == 0]
    assert roles[:4] == ["architect", "data_engineer", "model_engineer", "training_engineer"]
    prompt = next((folder / "calls").glob("003-*-training_engineer.md")).read_text()
    assert "# present data.py" in prompt
    assert "# present model.py" in prompt
    assert history.usd == 0
    assert history.rule_based
    assert "rule-based expert, no language model" in done.stdout
    assert history.iterations[0].accuracy is not None
    if installed():
        assert "W&B          not uploaded: http://127.0.0.1:1 cannot be reached" in done.stdout
        assert any((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    # No key is anywhere in the run's folder, nor in what W&B would be sent.
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for key in KEYS.values():
        assert not any(key.encode() in path.read_bytes() for path in files)
        assert key not in done.stdout + done.stderr
