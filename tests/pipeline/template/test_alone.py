"""`train.py` and `predict.py` as programs of their own, in an exported folder, on the user's own images."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from improve.pipeline.export import FILES, PACKAGE, TEMPLATE
from tests.support import template as support

LAZY = support.MODEL.replace("nn.Linear(64, 16)", "nn.LazyLinear(16)")


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """An exported pipeline without weights; its run had four classes and half a minute."""
    folder = tmp_path / "best"
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(TEMPLATE / name, folder / name)
    shutil.copyfile(TEMPLATE / PACKAGE[0], folder / PACKAGE[1])
    for name, source in (("data", support.DATA), ("model", LAZY), ("training", support.TRAINING)):
        (folder / f"{name}.py").write_text(source)
    values = support.context(fit_seconds=30.0, train_images=160).as_dict()
    (folder / "context.json").write_text(json.dumps(values))
    return folder


def images(root: Path, classes: dict[str, int]) -> Path:
    chance = np.random.default_rng(0)
    for level, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = chance.normal(60 + 90 * level, 20, (12, 9, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A cluster's variables, as a job of Slurm has them, are to change nothing.
    slurm = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_JOB_NAME": "x"}
    command = [sys.executable, *arguments]
    env = {**os.environ, **slurm}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env, timeout=280)


@pytest.mark.slow
def test_the_pipeline_learns_the_classes_of_other_folders(best: Path, tmp_path: Path) -> None:
    photos = images(tmp_path / "photos", {"dark": 30, "light": 30})
    done = python(best, "train.py", "--data", str(photos), "--seconds", "60")
    assert done.returncode == 0, done.stderr
    # Twice the time of the run: twice as many epochs as the component asks for.
    assert "of 4 " in done.stdout.splitlines()[-2] + " "
    done = python(best, "predict.py", str(photos), "--weights", "trained", "--out", "rows.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((best / "rows.csv").open()))
    assert len(rows) == 60
    assert np.mean([row["class"] == Path(row["file"]).parent.name for row in rows]) > 0.9
    done = python(best, "predict.py", str(photos / "dark" / "0.png"), "--weights", "trained", *EVERYTHING)
    [row] = csv.DictReader(done.stdout.splitlines())
    assert list(row) == ["file", "class", "probability", "class_2", "probability_2", "p(dark)", "p(light)"]
    assert row["probability"] == row["p(dark)"]
    assert float(row["p(dark)"]) + float(row["p(light)"]) == pytest.approx(1, abs=2e-4)
    done = python(tmp_path, "-c", FROM_PYTHON)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["classes"] == ["dark", "light"]
    assert told["own"] == "mine"  # the program's own module is what it was
    assert [[name for name, _ in tops] for tops in told["top"]] == [["dark", "light"], ["light", "dark"]]
    assert told["shares"][0] == pytest.approx([float(row["p(dark)"]), float(row["p(light)"])], abs=1e-4)
    assert told["top"][0][0][1] == pytest.approx(told["shares"][0][0])


EVERYTHING = ("--top-k", "9", "--probabilities")
FROM_PYTHON = """
import json, sys, types
sys.modules["data"] = types.SimpleNamespace(own="mine")
from best import load
classifier = load("best/trained")
from PIL import Image
photos = ["photos/dark/0.png", Image.open("photos/light/1.png")]
answers = {"top": classifier(photos, top=2), "shares": classifier.probabilities(photos).tolist()}
print(json.dumps({**answers, "classes": classifier.classes, "own": sys.modules["data"].own}))
"""


SLOWER = [pytest.param(counts, marks=pytest.mark.slow) for counts in ({"a": 2, "b": 1, "c": 3}, {"a": 40, "b": 2})]


@pytest.mark.parametrize("counts", [{"a": 1, "b": 1}, *SLOWER])
def test_few_images_are_enough_to_train_on(best: Path, tmp_path: Path, counts: dict[str, int]) -> None:
    photos = images(tmp_path / "photos", counts)
    done = python(best, "train.py", "--data", str(photos), "--seconds", "20")
    assert done.returncode == 0, done.stderr
    done = python(best, "predict.py", str(photos), "--weights", "trained")
    assert len(done.stdout.splitlines()) == 1 + sum(counts.values()), done.stderr


@pytest.mark.slow
def test_folders_that_make_no_task_are_told(best: Path, tmp_path: Path) -> None:
    one = images(tmp_path / "one", {"dark": 3})
    assert "at least two classes" in python(best, "train.py", "--data", str(one)).stderr
    (one / "light").mkdir()
    assert "has no images" in python(best, "train.py", "--data", str(one)).stderr
