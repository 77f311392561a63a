"""Every technique that the rule-based expert can write goes through the template's smoke run for real."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import improve.pipeline.template.context as template_context
from improve.expert.engineer import write
from improve.expert.recipe import DataRecipe, ModelRecipe, Recipe, TrainingRecipe

TEMPLATE = Path(template_context.__file__).parent
PRETRAINED = "tf_efficientnet_lite0"

DATA = (
    DataRecipe(),
    DataRecipe(shift=2, flip=True, degrees=10, zoom=0.1, erase=0.5, color=0.2),
    DataRecipe(mixup=0.2, size=24, balanced=True),
    DataRecipe(cutmix=0.5, shift=1),
    DataRecipe(auto="randaugment", size=40),
    DataRecipe(auto="trivialaugment", flip=True, mixup=0.1, cutmix=0.3),
    DataRecipe(auto="augmix"),
)
MODELS = (
    ModelRecipe(),
    ModelRecipe(stem=2, widths=(8, 16), blocks=(2, 1), dropout=0.2, label_smoothing=0.1),
    ModelRecipe(family="residual", stem=2, widths=(8, 16, 24), blocks=(0, 1), views="shifted"),
    ModelRecipe(family="residual", stem=4, widths=(8, 16), blocks=(2, 1), drop_path=0.1, dropout=0.1),
    ModelRecipe(family="timm", name="resnet18", dropout=0.1, drop_path=0.1),
    ModelRecipe(family="timm", name="convnext_atto", label_smoothing=0.1),
    ModelRecipe(
        family="pretrained", name=PRETRAINED, frozen=0.6, thaw=0.3, probe=True, levels=3, dropout=0.2, drop_path=0.1
    ),
    ModelRecipe(family="pretrained", name=PRETRAINED, frozen=1.0, probe=True, views="mirrored"),
    ModelRecipe(family="pretrained", name=PRETRAINED, label_smoothing=0.1, views="mirrored"),
)
TRAININGS = (
    TrainingRecipe(),
    TrainingRecipe(schedule="onecycle", warmup=0.2, ema=0.9, batch_size=16),
    TrainingRecipe(schedule="cosine", warmup=0.1, optimizer="sgd", lr=0.1, weight_decay=5e-4, clip=1.0, batch_size=16),
    TrainingRecipe(schedule="onecycle", optimizer="sgd", backbone_lr=0.1, batch_size=16),
    TrainingRecipe(schedule="cosine", backbone_lr=0.1, batch_size=16),
)
# Colour; grey and tiny; grey and not square.
SHAPES = ((32, 32, 3), (8, 8, 1), (20, 28, 1))

# Runs in a process of its own, with nothing of improve: the template, a pipeline after another.
DRIVER = """
import importlib, json, sys
from pathlib import Path
import numpy as np, timm, torch
import components, smoke
from context import Context

here = Path(sys.argv[1])
torch.manual_seed(0)
torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), here / "weights.pth")
for job in json.loads((here / "jobs.json").read_text()):
    data = here / "data-{}-{}-{}".format(*job["shape"])
    if not data.exists():
        data.mkdir()
        chance = np.random.default_rng(0)
        np.save(data / "images.npy", chance.integers(0, 256, (60, *job["shape"]), dtype=np.uint8))
        np.save(data / "labels.npy", np.arange(60) % 5)
    half = (0.5,) * 3
    context = Context.from_dict({
        "classes": list("abcde"), "height": job["shape"][0], "width": job["shape"][1], "channels": job["shape"][2],
        "mean": half[: job["shape"][2]], "std": half[: job["shape"][2]], "train_images": 54, "accelerator": "cpu",
        "images_per_class": [12] * 5,
        "pretrained": {"tf_efficientnet_lite0": {"file": str(here / "weights.pth"), "mean": half, "std": half}},
    })
    for name in ("data", "model", "training"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    sys.path.insert(0, job["folder"])
    try:
        parts = components.load_components()
        smoke.smoke(parts, context, data)
        if job["frozen"]:
            model = parts.build_model(context)
            model.freeze_units()
            backbone = model.train().backbone
            learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
            assert not learning, f"{len(learning)} parameters of a frozen backbone learn"
            steady = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d) and m.training]
            assert not steady, f"{len(steady)} normalisations of a frozen backbone follow the batches"
        print(json.dumps({"folder": job["folder"], "problem": ""}))
    except Exception as error:
        print(json.dumps({"folder": job["folder"], "problem": f"{type(error).__name__}: {error}"}))
    finally:
        sys.path.remove(job["folder"])
"""


def combinations() -> list[tuple[DataRecipe, ModelRecipe, TrainingRecipe, tuple[int, int, int]]]:
    """Each recipe at least once, each model with two data components and on two shapes of images."""
    chosen = []
    for turn in range(2):
        for i, model in enumerate(MODELS):
            # ConvNeXt's four-fold and then two-fold steps need 32 pixels; the expert asks for it from 48 on.
            shape = SHAPES[0] if model.name.startswith("convnext") else SHAPES[(i + turn) % len(SHAPES)]
            chosen.append((DATA[(i + turn) % len(DATA)], model, TRAININGS[(i + turn) % len(TRAININGS)], shape))
    return chosen


def used(recipes: tuple[Recipe, ...]) -> set[str]:
    """Fields that differ from their default in one of the recipes at least."""
    return {f.name for r in recipes for f in dataclasses.fields(r) if getattr(r, f.name) != getattr(type(r)(), f.name)}


@pytest.mark.parametrize("recipes", [DATA, MODELS, TRAININGS], ids=["data", "model", "training"])
def test_the_smoke_run_leaves_no_technique_out(recipes: tuple[Recipe, ...]) -> None:
    kind = type(recipes[0])
    assert used(recipes) >= {field.name for field in dataclasses.fields(kind)} - {"epochs"}
    for name, options in kind.options.items():
        assert {getattr(recipe, name) for recipe in recipes} == set(options)


@pytest.mark.slow
def test_every_technique_passes_the_smoke_run(tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = []
    for number, (data, model, training, shape) in enumerate(combinations()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for recipe in (data, model, training):
            (folder / f"{recipe.component}.py").write_text(write(recipe))
        jobs.append({"folder": str(folder), "shape": shape, "frozen": model.frozen == 1})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        env={"PATH": os.defpath, "PYTHONPATH": str(TEMPLATE), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    problems = [f"{Path(result['folder']).name}: {result['problem']}" for result in results if result["problem"]]
    assert not problems, "\n".join(problems)
    assert len(results) == len(jobs), done.stderr[-2000:]
