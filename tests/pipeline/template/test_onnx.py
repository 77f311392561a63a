"""One ONNX file that answers as the trained pipeline does: with its transforms, its views, and all its members."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support import template as support

VIEWS = "\nclass Model(Model):\n    views = 'mirrored'\n"
BRANCHES = """
class Model(Model):
    def forward(self, x):
        return super().forward(x if x.mean() > 0 else -x)
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return support.template()


def test_the_file_answers_for_any_number_of_images(lib: SimpleNamespace, tmp_path: Path) -> None:
    task = support.context(stored=12)  # the images are shrunk inside the graph
    parts = support.components(model=VIEWS)
    lib.keeping.save_weights(lib.keeping.copied(parts.build_model(task)), tmp_path)
    (tmp_path / lib.keeping.WEIGHTS).rename(tmp_path / "weights-2.safetensors")
    lib.keeping.save_weights(lib.keeping.copied(parts.build_model(task)), tmp_path)
    assert len(lib.keeping.weight_names(tmp_path)) == 2
    lib.to_onnx.write(parts, task, tmp_path, tmp_path)
    chance = np.random.default_rng(0)
    batches = [chance.integers(0, 256, (count, 12, 12, 1), dtype=np.uint8) for count in (1, 2, 7)]
    theirs = list(lib.to_onnx.answers(tmp_path / lib.to_onnx.FILE, 1, iter(batches)))
    ours = list(lib.classifier.probabilities(parts, task, tmp_path, iter(batches)))
    for ours_of_it, theirs_of_it in zip(ours, theirs, strict=True):
        assert np.abs(ours_of_it - theirs_of_it).max() < 0.01  # a shrunk pixel is rounded, which may differ by one
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / lib.to_onnx.FILE))
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(task.classes)


def test_what_onnx_cannot_say_is_told(lib: SimpleNamespace, tmp_path: Path) -> None:
    parts = support.components(model=BRANCHES)
    lib.keeping.save_weights(lib.keeping.copied(parts.build_model(support.context())), tmp_path)
    with pytest.raises(lib.template.ContractError, match="ONNX cannot express"):
        lib.to_onnx.write(parts, support.context(), tmp_path, tmp_path)
    assert not (tmp_path / lib.to_onnx.FILE).exists()
