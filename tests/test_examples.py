"""The recipes in examples/ keep to the contract and run through the template; their scripts run, too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from improve.domain import COMPONENTS, Pipeline
from improve.pipeline import contract
from improve.pipeline.weights import prepared
from tests.support import template as support
from tests.support.paths import ROOT

RECIPES = ("probe", "fine_tuning", "airbench")
NAME = "tf_efficientnet_lite0"


def sources(recipe: str) -> dict[str, str]:
    return {name: (ROOT / "examples" / recipe / f"{name}.py").read_text() for name in COMPONENTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty-four images of 32 × 32 in four classes: which quarter is bright."""
    folder = tmp_path_factory.mktemp("images")
    labels = np.arange(64) % 4
    images = np.random.default_rng(0).integers(0, 120, (64, 32, 32, 3), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, 16 * (label // 2) :, 16 * (label % 2) :][:16, :16] += 120
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.savez(folder / "both.npz", images=images, labels=labels)
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_keeps_to_the_contract(recipe: str) -> None:
    assert contract.check(Pipeline(**sources(recipe))) is None


def modules(recipe: str) -> Any:
    lib = support.template()
    made = {name: support._module(name, source) for name, source in sources(recipe).items()}
    return lib.components.Components(**made)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_and_its_script_does(recipe: str, folder: Path, cache: Path, tmp_path: Path) -> None:
    lib = support.template()
    weights = {"file": str(prepared(NAME, cache)), "mean": [0.5] * 3, "std": [0.5] * 3}
    context = support.context(
        height=32, width=32, channels=3, mean=[0.4] * 3, std=[0.25] * 3, train_images=64, images_per_class=[16] * 4,
        pretrained={NAME: weights}, steps=20, fit_seconds=120.0,
    )  # fmt: skip
    lib.train.fit(modules(recipe), context, folder, tmp_path, lambda event: None)
    images = np.load(folder / "images.npy")
    rows = np.concatenate(list(lib.classifier.probabilities(modules(recipe), context, tmp_path, iter([images]))))
    assert np.isfinite(rows).all()
    assert rows.shape == (64, 4)
    file = str(folder / "both.npz")
    command = [
        sys.executable,
        "-m",
        f"examples.{recipe}.script",
        file,
        file,
        "--seconds",
        "8",
        "--weights",
        weights["file"],
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) >= 0.25


def test_scripts_use_nothing_of_the_template() -> None:
    for file in (ROOT / "examples").rglob("*.py"):
        if file.stem in ("script", "plain"):
            names = {node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)}
            assert not any(str(name).split(".")[0] in ("improve", "template", "augment") for name in names)


@pytest.mark.slow
def test_recipes_are_compared_with_their_scripts(folder: Path) -> None:
    command = [sys.executable, "-m", "examples.compare", str(folder), "airbench", "--seconds", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert re.fullmatch(r"airbench  seed 0  components \d+\.\d%  script \d+\.\d%\n", done.stdout), done.stderr
