"""Pretrained weights: found where they are, converted once, never guessed at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from improve.errors import ConfigError, ImproveError
from improve.pipeline import weights
from improve.pipeline.convert_weights import STAGES, timm_key
from improve.pipeline.weights import Weights, find_weights, prepared

IMAGENET_MEAN = (0.485, 0.456, 0.406)


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def snapshot(tmp_path: Path, model: str, description: str, file: str | None = "model.safetensors") -> Path:
    """A model as huggingface_hub leaves it: a snapshot that links to blobs."""
    folder = tmp_path / "hf" / "hub" / f"models--timm--{model}" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(description)
    if file:
        blob = folder.parents[1] / "blobs" / "f00"
        blob.parent.mkdir()
        blob.write_bytes(b"weights")
        (folder / file).symlink_to(blob)
    return folder


def test_only_the_package_is_found_on_a_bare_machine_and_torch_stays_out() -> None:
    program = (
        "import sys; from improve.pipeline.weights import find_weights; print([w.name for w in find_weights()]);"
        "sys.exit(' '.join({'torch', 'timm', 'safetensors'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['tf_efficientnet_lite0']"


def test_every_parameter_of_the_port_has_a_name_of_its_own() -> None:
    assert timm_key("_conv_stem.weight") == "conv_stem.weight"
    assert timm_key("_fc.bias") == "classifier.bias"
    assert timm_key("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert timm_key("_blocks.15._bn2.running_var") == "blocks.6.0.bn3.running_var"
    blocks = [timm_key(f"_blocks.{number}._bn1.weight").split(".")[1:3] for number in range(sum(STAGES))]
    assert blocks == [[str(stage), str(index)] for stage, length in enumerate(STAGES) for index in range(length)]
    for unknown in (
        "_blocks.16._bn1.weight",
        "_blocks.0._expand_conv.weight",
        "conv_stem.weight",
        "_blocks.1._se.bias",
    ):
        with pytest.raises(KeyError):
            timm_key(unknown)


def test_the_package_is_converted_once(tmp_path: Path) -> None:
    file = prepared("tf_efficientnet_lite0", tmp_path / "cache")
    with safe_open(file, framework="numpy") as tensors:
        names = set(tensors.keys())
        assert tensors.get_slice("classifier.weight").get_shape() == [1000, 1280]
    assert len(names) == 296
    assert not any(name.startswith("_") for name in names)
    assert file.stat().st_mode & 0o004, "the sandbox reads it as another user"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    before = file.stat().st_mtime_ns
    entry = weights.pretrained(tmp_path / "cache")["tf_efficientnet_lite0"]
    assert entry == {"file": str(file), "mean": [0.5] * 3, "std": [0.5] * 3}
    assert file.stat().st_mtime_ns == before


def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"not a checkpoint")
    found = Weights("tf_efficientnet_lite0", damaged, (0.5,) * 3, (0.5,) * 3, "test", foreign=True)
    monkeypatch.setattr(weights, "find_weights", lambda folder: [found])
    with pytest.raises(ImproveError, match=r"convert .*damaged\.pth") as caught:
        prepared("tf_efficientnet_lite0", tmp_path / "cache")
    assert "Traceback" not in str(caught.value)
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_unknown_weights_name_what_is_at_hand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at hand: tf_efficientnet_lite0") as caught:
        prepared("resnet18", tmp_path)
    assert "executor.weights" in caught.value.fix


def test_users_folder_comes_first_and_hub_files_are_known_by_their_names(tmp_path: Path) -> None:
    mine, hub = tmp_path / "mine", tmp_path / "torch" / "hub" / "checkpoints"
    mine.mkdir()
    hub.mkdir(parents=True)
    for file in ("resnet18.a1_in1k.safetensors", "vit_tiny_patch16_224.pth", "notes.txt"):
        (mine / file).touch()
    for file in ("resnet18-f37072fd.pth", "somebody-elses.pth"):
        (hub / file).touch()
    snapshot(tmp_path, "resnet18.a1_in1k", json.dumps({"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}))
    found = {item.name: item for item in find_weights(mine)}
    assert {name: item.mean for name, item in found.items()} == {
        "resnet18.a1_in1k": IMAGENET_MEAN,
        "vit_tiny_patch16_224": (0.5, 0.5, 0.5),
        "resnet18.tv_in1k": IMAGENET_MEAN,
        "tf_efficientnet_lite0": (0.5, 0.5, 0.5),
    }
    assert found["resnet18.tv_in1k"].file == hub / "resnet18-f37072fd.pth"
    assert prepared("resnet18.a1_in1k", tmp_path / "cache", mine) == mine / "resnet18.a1_in1k.safetensors"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "resnt18.pth").touch()
    with pytest.raises(ConfigError, match=r"resnt18\.pth is not named after a model") as caught:
        find_weights(tmp_path)
    assert "resnet18" in caught.value.fix


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"executor\.weights=.*none is not a folder"):
        find_weights(tmp_path / "none")


def test_hugging_faces_snapshots_are_found_if_complete(tmp_path: Path) -> None:
    described = json.dumps({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}})
    folder = snapshot(tmp_path, "convnext_atto.d2_in1k", described)
    snapshot(tmp_path, "resnet10t.c3_in1k", described, file="pytorch_model.bin")
    snapshot(tmp_path, "resnet26.bt_in1k", described, file=None)
    snapshot(tmp_path, "resnet34.a1_in1k", "{")
    snapshot(tmp_path, "resnet50.a1_in1k", "{}")
    found = {item.name: item for item in find_weights()}
    assert set(found) == {"convnext_atto.d2_in1k", "resnet10t.c3_in1k", "tf_efficientnet_lite0"}
    assert found["convnext_atto.d2_in1k"].std == (0.25, 0.25, 0.25)
    assert found["convnext_atto.d2_in1k"].file == folder / "model.safetensors"
