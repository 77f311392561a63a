"""What the user takes away: a folder that is complete, and that took nothing from generated code but bytes."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from improve.domain import Pipeline
from improve.errors import ImproveError
from improve.execution.machine import library_versions
from improve.pipeline.export import FILES, TEMPLATE, copy_untrusted, delivered_weights, export
from improve.pipeline.requirements import imported_modules, requirements
from improve.pipeline.weights import PACKAGE_MODEL
from tests.support import template as support

BACKBONE = f"""
from template import pretrained_backbone

class Model(Model):
    def __init__(self, context):
        super().__init__(context)
        self.backbone = pretrained_backbone(context, "{PACKAGE_MODEL}")
        self.head = nn.Linear(self.backbone.num_features, context.num_classes)

    def forward(self, images):
        return self.head(self.backbone(images))
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


def exported(folder: Path, model: str = "", pretrained: dict[str, Any] | None = None) -> Path:
    """An export of small components; the weights are whatever lies in `folder`/work."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    if not os.path.lexists(work / "weights.safetensors"):
        (work / "weights.safetensors").write_bytes(b"some weights")
    pipeline = Pipeline(support.DATA, support.MODEL + model, support.TRAINING)
    context = {
        "classes": ["a cat", "{b}", "ç", "d"],
        "height": 8,
        "width": 8,
        "channels": 1,
        "mean": [0.4],
        "std": [0.25],
        "train_images": 160,
        "images_per_class": [40] * 4,
        "pretrained": pretrained or {},
    }
    versions = library_versions()
    return export(folder / "best", pipeline, [work], context, folder / "train", versions, "# A card\n")


def test_the_folder_holds_the_template_the_components_and_the_card(tmp_path: Path) -> None:
    best = exported(tmp_path)
    own = {"data.py", "model.py", "training.py", "weights.safetensors", "context.json", "requirements.txt", "README.md"}
    assert {path.name for path in best.iterdir()} == own | set(FILES) | {"__init__.py"}
    assert (best / "README.md").read_text() == "# A card\n"
    for name in FILES:
        assert (best / name).read_bytes() == (TEMPLATE / name).read_bytes()


def test_requirements_are_pinned_to_what_was_used(tmp_path: Path) -> None:
    lines = (exported(tmp_path) / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    versions = {name.replace("_", "-"): version for name, version in library_versions().items()}
    assert pinned.keys() == versions.keys() | {"numpy", "pillow", "safetensors"}
    assert all(pinned[name] == version.split("+")[0] for name, version in versions.items())


def test_requirements_name_what_components_import_and_versions_that_indexes_know() -> None:
    late = "def forward():\n    import sklearn.svm, math\n    from scipy.stats import rankdata\n    import template"
    text = requirements(Pipeline("import PIL\nimport torchmetrics", late, "broken ("), {"torch": "2.9.0+cu128"})
    names = [line.split("==")[0] for line in text.splitlines()]
    assert names == ["numpy", "pillow", "safetensors", "scikit-learn", "scipy", "torch", "torchmetrics"]
    assert "torch==2.9.0\n" in text


def test_everything_that_the_template_imports_is_there_or_required(tmp_path: Path) -> None:
    best = exported(tmp_path)
    lines = (best / "requirements.txt").read_text().splitlines()
    required = {line.split("==")[0].replace("-", "_") for line in lines}
    optional = {"pillow_heif"}  # for HEIC photos, where it is installed; lightning_fabric comes with pytorch_lightning
    known = required | optional | {"PIL", "lightning_fabric"} | {path.stem for path in best.glob("*.py")}
    for file in best.glob("*.py"):
        assert imported_modules(file.read_text()) <= known, file.name


def test_a_second_export_leaves_nothing_half_made(tmp_path: Path) -> None:
    exported(tmp_path)
    (tmp_path / "best.partial").mkdir()
    exported(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "work"]


def test_what_people_put_there_stays(tmp_path: Path) -> None:
    folder = exported(tmp_path)
    (folder / "trained").mkdir()
    (folder / "trained" / "weights.safetensors").write_bytes(b"mine")
    (folder / "predictions.csv").write_text("file,class\n")
    (folder / "data.py").write_text("# broken")
    exported(tmp_path)
    assert (folder / "trained" / "weights.safetensors").read_bytes() == b"mine"
    assert (folder / "predictions.csv").read_text() == "file,class\n"
    assert (folder / "data.py").read_text() == support.DATA


def test_pretrained_weights_go_along_only_if_the_model_names_them(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"pretrained")
    weights = {name: {"file": str(file), "mean": [0.5], "std": [0.5]} for name in (PACKAGE_MODEL, "resnet18")}
    best = exported(tmp_path, BACKBONE, weights)
    context = json.loads((best / "context.json").read_text())
    copied = f"pretrained/{PACKAGE_MODEL}.safetensors"
    assert context["pretrained"] == {PACKAGE_MODEL: {"file": copied, "mean": [0.5], "std": [0.5]}}
    assert (best / copied).read_bytes() == b"pretrained"
    assert not (exported(tmp_path, "", weights) / "pretrained").exists()


def test_an_exported_model_predicts_where_its_pretrained_start_is_gone(lib: SimpleNamespace, tmp_path: Path) -> None:
    gone = {PACKAGE_MODEL: {"file": str(tmp_path / "w.safetensors"), "mean": [0.5] * 3, "std": [0.5] * 3}}
    parts = support.components(model=BACKBONE)
    trained = parts.build_model(support.context(pretrained=gone, restoring=True)).eval()
    (tmp_path / "work").mkdir()
    lib.train.save_weights(trained.state_dict(), tmp_path / "work")
    (tmp_path / "w.safetensors").write_bytes(b"")
    best = exported(tmp_path, BACKBONE, gone)
    (best / "pretrained" / f"{PACKAGE_MODEL}.safetensors").unlink()
    (tmp_path / "w.safetensors").unlink()
    context = lib.context.Context.load(best / "context.json")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    [rows] = lib.classifier.probabilities(parts, context, best, iter([images]))
    inputs = parts.build_data(context).eval_transform()(lib.template.to_tensor(images))
    with lib.torch.no_grad():
        wanted = trained(inputs).softmax(dim=1).numpy()
    assert np.abs(rows - wanted).max() < 1e-5


# ---------------------------------------------------------------------- files that generated code wrote


def link(path: Path) -> None:
    path.with_name("secret").write_text("the labels")
    path.symlink_to("secret")


def dangling(path: Path) -> None:
    path.symlink_to("nothing")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        here = os.getcwd()
        os.chdir(path.parent)  # the whole path may be too long for a socket
        endpoint.bind(path.name)
        os.chdir(here)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("leave", [link, dangling, os.mkfifo, Path.mkdir, listening, sparse, lambda path: None])
def test_what_is_no_ordinary_file_is_refused(tmp_path: Path, leave: Any) -> None:
    source, target = tmp_path / "weights.safetensors", tmp_path / "copy"
    leave(source)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ImproveError, match=re.escape(str(source))):
        copy_untrusted(source, target)
    assert not target.exists() or target.stat().st_size == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_ordinary_file_is_copied_up_to_its_limit(tmp_path: Path) -> None:
    source, target = tmp_path / "weights.safetensors", tmp_path / "copy"
    source.write_bytes(os.urandom(1000))
    copy_untrusted(source, target, limit=1000)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(ImproveError, match="1,000 bytes, more than 999"):
        copy_untrusted(source, target, limit=999)


def test_an_export_that_is_refused_leaves_the_last_one(tmp_path: Path) -> None:
    best = exported(tmp_path)
    (tmp_path / "work" / "weights.safetensors").unlink()
    (tmp_path / "work" / "weights.safetensors").symlink_to("/etc/passwd")
    with pytest.raises(ImproveError):
        exported(tmp_path)
    assert (best / "weights.safetensors").read_bytes() == b"some weights"


def test_an_export_of_an_earlier_version_makes_room(tmp_path: Path) -> None:
    best = exported(tmp_path)
    for name in ("weights.pt", "weights-2.pt", "weights-2.safetensors"):
        (best / name).write_bytes(b"old")
    assert [file.name for file in delivered_weights(best)] == [
        "weights.safetensors", "weights-2.safetensors", "weights.pt", "weights-2.pt",
    ]  # fmt: skip
    exported(tmp_path)
    assert [file.name for file in delivered_weights(best)] == ["weights.safetensors"]
    (tmp_path / "work" / "weights.safetensors").rename(tmp_path / "work" / "weights.pt")
    context, works = json.loads((best / "context.json").read_text()), [tmp_path / "work"] * 2
    pipeline = Pipeline(support.DATA, support.MODEL, support.TRAINING)
    export(best, pipeline, works, context, tmp_path / "train", library_versions(), "")
    assert [file.name for file in delivered_weights(best)] == ["weights.pt", "weights-2.pt"]
