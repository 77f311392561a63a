"""The main job end to end: real processes, a real socket, real trainings; the model's replies are scripted."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from improve.commands.verify import verify_run
from improve.display.text import percent
from improve.domain import Verdict
from improve.errors import ResumeError
from improve.record.history import History
from improve.record.journal import JOURNAL, Record, lines, read
from tests.support import components
from tests.support.scripted_llm import role_of, scripted_llm

SHORT = ("dataset=digits", "llm=local", "executor.fit_seconds=30", "display=plain")


def reply(system: str, user: str) -> str:
    """A team that breaks its contract twice, then keeps it; a good change, a bad one, and a model that explodes."""
    role = role_of(system)
    if role == "Project Architect":
        return components.first_pipeline(width=16, epochs=2)
    if role == "Performance Analyst":
        step = user.count("- {iteration:")
        component = {1: "training", 2: "training", 3: "model"}[step]
        return json.dumps({"component": component, "diagnosis": "seen", "feedback": f"[step-{step}] do it"})
    if role == "Training Engineer":
        if "[step-2]" in user:
            return components.fenced(training=components.training(epochs=1, rate=1e-6))
        good = components.fenced(training=components.training(epochs=12, rate=3e-3))
        return good if "It is not shown here" in user else good.replace("import torch\n", "import torch\nimport nope\n")
    if role == "Model Engineer":
        return components.fenced(model=components.model(width=16).replace("loss", "x") + EXPLODING)
    return "It did what was asked."


EXPLODING = """
    def loss(self, logits, targets):
        scale = float("nan") if self.global_step > 20 else 1.0
        return nn.functional.cross_entropy(logits, targets) * scale
"""


@dataclass
class Ran:
    folder: Path
    output: str
    requests: list[tuple[str, str]]

    @property
    def history(self) -> History:
        return History.read(self.folder)


def improve(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "IMPROVE_CACHE": str(cache), "CANARY_API_KEY": "canary-5ecret"},
    )


def prepared(cache: Path) -> Path:
    """The entry of all digits in the cache, where other tests may have put parts of them."""
    folders = [path for path in cache.glob("digits-*") if path.is_dir()]
    return max(folders, key=lambda path: len(np.load(path / "train" / "labels.npy", mmap_mode="r")))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("runs") / "a run"
    with scripted_llm(reply) as server:
        arguments = (*SHORT, f"llm.api_base={server.base}", "strategy.iterations=3", f"run_dir={folder}")
        done = improve("improve.run", *arguments, "llm.api_key_env=CANARY_API_KEY", cache=cache)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Ran(folder, done.stdout, server.requests)


def test_the_verdicts_are_those_of_the_scores(ran: Ran) -> None:
    verdicts = [iteration.outcome for iteration in ran.history.iterations]
    assert verdicts[0] is Verdict.ACCEPTED
    assert verdicts[1] is Verdict.ACCEPTED
    assert verdicts[2] in (Verdict.REJECTED, Verdict.WITHIN_NOISE)
    assert verdicts[3] is Verdict.FAILED


def forged(ran: Ran, folder: Path, change: Callable[[Record], Record]) -> Path:
    """A copy of the run whose records, changed, are chained anew: all that a forger who knows the code can do."""
    shutil.copytree(ran.folder, folder, symlinks=True)
    records = [change(record) for record in read(folder / JOURNAL).records]
    (folder / JOURNAL).write_text("".join(lines(records)), encoding="utf-8")
    return folder


def test_a_run_is_verified_from_its_predictions_labels_and_code(ran: Ran, cache: Path) -> None:
    done = improve("improve.cli", "verify", str(ran.folder), cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 do not, 0 could not be looked at" in done.stdout
    assert ran.history.link in done.stdout
    assert f"record       {ran.history.link}" in ran.output


@pytest.mark.parametrize(
    ("kind", "key", "value", "found"),
    [
        ("score", "accuracy", 1.0, "selection score of iteration 0"),
        ("score", "correct", 1, "selection score of iteration 1"),
        ("score", "low", 0.9999, "selection score of iteration 0"),
        ("test", "accuracy", 1.0, "test score of the best pipeline"),
        ("verdict", "p_value", 1e-9, "verdict on iteration 1"),
        ("verdict", "verdict", "accepted", "verdict on iteration 2"),
        ("candidate", "hashes", {"data": "", "model": "", "training": ""}, "sources of iteration 0"),
        ("finished", "best", 2, "which pipeline is the best"),
    ],
)
def test_a_record_that_was_changed_and_chained_anew_does_not_hold(
    kind: str,
    key: str,
    value: Any,
    found: str,
    ran: Ran,
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def change(record: Record) -> Record:
        return dataclasses.replace(record, data={**record.data, key: value}) if record.kind == kind else record

    folder = forged(ran, tmp_path / "copy", change)
    assert verify_run(folder, retrain=False, cache_dir=str(cache)) == ResumeError.exit_code
    said = capsys.readouterr().out
    assert any(line.startswith("DOES NOT HOLD") and found in line for line in said.splitlines()), said


def test_predictions_that_are_not_those_on_record_do_not_hold(
    ran: Ran, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = forged(ran, tmp_path / "copy", lambda record: record)
    file = folder / "predictions" / "selection-001.npy"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    (folder / "best" / "model.py").write_text("# another")
    assert verify_run(folder, retrain=False, cache_dir=str(cache)) == ResumeError.exit_code
    said = capsys.readouterr().out
    assert "DOES NOT HOLD  selection score of iteration 1" in said
    assert "DOES NOT HOLD  the code in best/: model.py" in said


def test_a_broken_component_goes_back_to_its_engineer(ran: Ran) -> None:
    first = ran.history.iterations[1]
    assert [check["failure"] and check["failure"]["reason"] for check in first.checks] == ["import", "import", None]
    repairs = [user for system, user in ran.requests if "failed its check" in user]
    assert all("'nope' is not installed" in prompt for prompt in repairs)
    # The first repair mends what failed, the second starts again from what had worked.
    assert ["import nope" in prompt for prompt in repairs] == [True, False]


def test_a_nan_loss_is_classified_and_told_to_the_analyst(ran: Ran) -> None:
    failure = ran.history.iterations[3].failure
    assert failure is not None
    assert failure["reason"] == "nan"


def test_the_score_is_what_the_saved_predictions_and_hidden_labels_give(ran: Ran, cache: Path) -> None:
    entry = prepared(cache)
    labels = np.load(entry / "hidden" / "test.npy")
    record = next(r for r in read(ran.folder / "journal.jsonl")[0] if r.key == "test-best")
    given = np.load(ran.folder / record.data["predictions"])
    assert record.data["correct"] == int((given.argmax(axis=1) == labels).sum())
    assert record.data["total"] == len(labels)
    assert record.data["accuracy"] > 0.8


def test_no_prompt_knows_a_hidden_label_or_a_test_score(ran: Ran) -> None:
    tests = [r.data for r in read(ran.folder / "journal.jsonl")[0] if r.kind == "test"]
    text = "\n".join(system + user for system, user in ran.requests)
    assert all(f"{test['accuracy']:.4f}" not in text for test in tests)
    assert "hidden/" not in text


def test_every_call_and_component_is_a_file(ran: Ran) -> None:
    calls = sorted((ran.folder / "calls").glob("*.md"))
    assert len(calls) == len(ran.requests)
    for number in range(3):
        assert {"data.py", "model.py", "training.py", "log.txt", "metrics.csv"} <= {
            path.name for path in (ran.folder / "candidates" / f"{number:03d}").iterdir()
        }
    assert (ran.folder / "run.html").stat().st_size > 10_000


def test_the_key_is_in_no_file_and_no_output(ran: Ran) -> None:
    assert "canary-5ecret" not in ran.output
    for path in ran.folder.rglob("*"):
        assert not path.is_file() or b"canary-5ecret" not in path.read_bytes(), path


def test_nothing_is_left_of_rejected_trainings(ran: Ran) -> None:
    kept = {path.name.split("-r")[0] for path in (ran.folder / "work").iterdir()}  # with its replicates
    assert kept == {"000", "001"}


def test_the_same_command_again_only_shows_the_result(ran: Ran, cache: Path) -> None:
    before = (ran.folder / "journal.jsonl").read_bytes()
    config = ran.history.run["config"]
    arguments = (*SHORT, f"llm.api_base={config['llm']['api_base']}", "strategy.iterations=3", f"run_dir={ran.folder}")
    done = improve("improve.run", *arguments, "llm.api_key_env=CANARY_API_KEY", cache=cache)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    assert (ran.folder / "journal.jsonl").read_bytes() == before


def test_a_resume_with_other_settings_lists_the_differences(ran: Ran, cache: Path) -> None:
    config = ran.history.run["config"]
    arguments = (*SHORT, f"llm.api_base={config['llm']['api_base']}", "strategy.iterations=4", f"run_dir={ran.folder}")
    done = improve("improve.run", *arguments, "llm.api_key_env=CANARY_API_KEY", "seed=3", cache=cache)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "strategy.iterations: 3 → 4" in done.stderr
    assert "seed: 0 → 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    images = np.load(prepared(cache) / "test" / "images.npy")
    for number, image in enumerate(images[:20]):
        Image.fromarray(image[..., 0]).save(folder / f"{number:02d}.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.slow
def test_the_best_pipeline_runs_without_improve(ran: Ran, pictures: Path, cache: Path, tmp_path: Path) -> None:
    best = tmp_path / "taken away"
    shutil.copytree(ran.folder / "best", best)
    # No package of ours on the path: an import of `improve` would fail.
    blocked = "import sys; sys.modules['improve'] = None; import runpy; sys.argv = sys.argv[1:]; "
    program = blocked + "sys.path.insert(0, ''); runpy.run_path(sys.argv[0], run_name='__main__')"

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=best, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    alone = rows_of(python("predict.py", str(pictures)))
    through = improve("improve.cli", "predict", str(ran.folder), str(pictures), cache=cache)
    assert through.returncode == 0, through.stderr
    assert alone == rows_of(through.stdout)
    assert len(alone) == 20
    labels = np.load(prepared(cache) / "hidden" / "test.npy")[:20]
    right = sum(row["class"] == str(label) for row, label in zip(alone, labels, strict=True))
    assert right >= 14
    python("train.py", "--seconds", "20")
    assert (best / "trained" / "weights.safetensors").exists()


@pytest.mark.slow
def test_the_best_pipeline_becomes_an_onnx_file(ran: Ran, pictures: Path, cache: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = improve("improve.cli", "export", str(ran.folder), "--onnx", "-o", str(tmp_path / "it.onnx"), cache=cache)
    assert done.returncode == 0, done.stderr
    assert "get the same class" in done.stdout
    images = np.load(prepared(cache) / "test" / "images.npy")[:20]
    [given] = onnxruntime.InferenceSession(str(tmp_path / "it.onnx")).run(None, {"images": images})
    table = improve("improve.cli", "predict", str(ran.folder), str(pictures), "--probabilities", cache=cache).stdout
    told = [[float(share) for name, share in row.items() if name.startswith("p(")] for row in rows_of(table)]
    assert np.abs(given - np.array(told)).max() < 1e-3


def test_the_card_says_what_the_model_is_and_how_well_it_does(ran: Ran) -> None:
    card = (ran.folder / "best" / "README.md").read_text()
    test = ran.history.best_test
    assert test is not None
    assert f"test accuracy of the best pipeline: {percent(test['accuracy'])} (95% interval " in card
    for title in ("How to use it", "How well it does", "What it was trained on", "Limits", "Licences"):
        assert f"\n## {title}\n" in card
    counts = ran.history.run["dataset"]["counts"]
    assert f"{counts['train']:,} images to train on" in card
    assert all(note in card for note in ran.history.run["notes"])


def test_predicting_names_what_is_missing(tmp_path: Path, cache: Path) -> None:
    done = improve("improve.cli", "predict", str(tmp_path), str(tmp_path), cache=cache)
    assert done.returncode == 2
    assert re.search(r"holds no trained pipeline.*\n  fix:", done.stderr)
