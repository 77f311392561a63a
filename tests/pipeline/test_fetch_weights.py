"""Weights from the hub: a real client, a real socket, a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from improve.record.journal import JOURNAL, read
from tests.support import components
from tests.support.paths import ROOT
from tests.support.scripted_llm import scripted_llm
from tests.support.weights_hub import COMMIT, WeightsHub

RESNET, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"
EXPLICIT = f"""
from improve.config.schema import ExecutorConfig
from improve.pipeline.fetch_weights import fetch_weights
from improve.pipeline.weights import find_weights
from improve.errors import ConfigError
fetch_weights(ExecutorConfig(fetch_weights=["{RESNET.split(".")[0]}"]), print)
found = {{weights.name: weights for weights in find_weights()}}
print(found["{RESNET}"].mean, found["{RESNET}"].file.name)
for name in ("test_efficientnet", "resnet1O1"):
    try:
        fetch_weights(ExecutorConfig(fetch_weights=[name]), lambda line: None)
    except ConfigError as error:
        print(error)
"""
ON_DEMAND = f"""
import json
from pathlib import Path
from improve.config.schema import ExecutorConfig
from improve.pipeline.supply import Supply
supply = Supply(ExecutorConfig(weights_limit_gib=0.002), Path("cache"), {{}}, on_demand=True)
model = 'pretrained_backbone(context, "{RESNET}")'
assert supply.missing(model) == ["{RESNET}"], supply.missing(model)
said = []
record = supply.provide(["{RESNET}"], said.append)
print(json.dumps([record, said]))
weights = supply.adopt(record["fetched"], said.append)
assert supply.missing(model) == []
for name in ("{VIT}", "resnet1O1", "vit_base_patch16_clip_224.openai"):
    print(json.dumps(supply.provide([name], said.append)))
"""
MODEL = """from torch import nn
from template import ImageClassifier, pretrained_backbone


class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.backbone = pretrained_backbone(context, "{name}")
        self.head = nn.Linear(self.backbone.num_features, context.num_classes)

    def forward(self, images):
        return self.head(self.backbone(images))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    made = [sys.executable, "-m", "tests.support.weights_hub", str(folder), RESNET, VIT]
    subprocess.run(made, check=True, cwd=ROOT, timeout=300)
    return folder


@pytest.fixture
def hub(files: Path) -> Iterator[WeightsHub]:
    with WeightsHub(files).serving() as served:
        yield served


def surroundings(hub: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("HF_HUB_OFFLINE", None)
    return {**kept, "HF_ENDPOINT": hub, "HF_HOME": str(folder / "hf"), "TORCH_HOME": str(folder / "torch")}


def python(program: str, hub: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**surroundings(hub, folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_weights_are_fetched_once_and_mistakes_are_named(hub: WeightsHub, tmp_path: Path) -> None:
    said = python(EXPLICIT, hub.base, tmp_path)
    lines = said.splitlines()
    assert lines[0] == "fetching the pretrained weights of test_resnet (once)"
    assert "(0.5, 0.5, 0.5) model.safetensors" in lines
    assert "config.json of timm/test_efficientnet" in said
    assert "cannot be fetched from the Hugging Face hub:" in said
    assert "404" in said
    assert "executor.fetch_weights=resnet1O1: resnet1O1 is no model of timm" in said
    assert "resnet101" in said


def test_a_model_that_names_them_gets_them_within_the_limit(hub: WeightsHub, files: Path, tmp_path: Path) -> None:
    (given, said), *refused = map(json.loads, python(ON_DEMAND, hub.base, tmp_path).splitlines())
    file = files / "timm" / RESNET / "model.safetensors"
    assert given["failure"] is None
    assert given["fetched"] == [
        {
            "name": RESNET,
            "asked": RESNET,
            "licence": "apache-2.0",
            "repository": f"timm/{RESNET}",
            "revision": COMMIT,
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    ]
    assert said[-1] == f"fetching {RESNET}: {file.stat().st_size / 1e6:.0f} of {file.stat().st_size / 1e6:.0f} MB"
    too_large, unknown, absent = (one["failure"]["message"] for one in refused)
    assert "of executor.weights_limit_gib 0.00 GiB are left" in too_large
    assert f"At hand: {RESNET}" in too_large
    assert not any(f"GET /timm/{VIT}" in asked and "safetensors" in asked for asked in hub.asked)
    assert "no model of timm (did you mean" in unknown
    assert "no pretrained weights for vit_base_patch16_clip_224.openai: config.json of timm" in absent
    assert "404" in absent
    assert not any(asked.endswith(".bin") for asked in hub.asked)


def test_what_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "made" / "timm" / RESNET
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}))
    (place / "model.safetensors").write_bytes(b"\x80\x04 a pickle" * 100)
    program = ON_DEMAND.split("weights = supply.adopt")[0]
    with WeightsHub(tmp_path / "made").serving() as served:
        ((record, _),) = map(json.loads, python(program, served.base, tmp_path).splitlines())
    assert "holds no safetensors" in record["failure"]["message"]
    assert record["fetched"] == []


def test_without_a_hub_what_is_at_hand_is_named(tmp_path: Path) -> None:
    program = ON_DEMAND.split("weights = supply.adopt")[0].replace('Path("cache"), {}', "Path(\"cache\"), {'mine': {}}")
    ((record, _),) = map(json.loads, python(program, "http://127.0.0.1:9", tmp_path).splitlines())
    message = record["failure"]["message"]
    assert f"config.json of timm/{RESNET} cannot be fetched from the Hugging Face hub: " in message
    assert "At hand: mine. Use one of these" in message


def run_of(folder: Path, hub: str, base: str, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "improve.run", "dataset=digits", "llm=local",
        "llm.model=scripted", f"llm.api_base={base}",
        f"run_dir={folder / 'run'}", "strategy.iterations=0", "executor.fit_seconds=5", "display.mode=plain", *settings,
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, env=surroundings(hub, folder), capture_output=True, text=True, timeout=400)


def test_a_run_fetches_what_its_model_names_and_records_it(hub: WeightsHub, tmp_path: Path) -> None:
    prompts: list[str] = []

    def reply(system: str, user: str) -> str:
        prompts.append(user)
        if "Summarizer" in system.split(".", 1)[0]:
            return "It was tried."
        files = {"data": components.DATA, "model": MODEL.format(name="test_resnet"), "training": components.training(1)}
        return "A small net.\n\n" + components.fenced(**files)

    with scripted_llm(reply) as server:
        done = run_of(tmp_path, hub.base, server.base)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pretrained_on_demand" in prompts[0]
    assert "convnext_tiny.in12k_ft_in1k: '29 M, 84%'" in " ".join(prompts[0].split())
    records = {record.key: record for record in read(tmp_path / "run" / JOURNAL).records}
    assert records["run"].data["weights"]["on_demand"] is True
    (fetched,) = records["weights-0-0"].data["fetched"]
    assert (fetched["name"], fetched["asked"], len(fetched["sha256"])) == (RESNET, "test_resnet", 64)
    assert records["check-0-0"].data["failure"] is None
    assert [file.name for file in (tmp_path / "run/best/pretrained").iterdir()] == [f"{RESNET}.safetensors"]
    assert f"fetched the pretrained weights of {RESNET}" in done.stdout
    assert "licence" in fetched


def test_a_demanded_architecture_needs_no_further_keys(hub: WeightsHub, tmp_path: Path) -> None:
    def reply(system: str, user: str) -> str:
        assert "required_model: test_vit" in user or "Summarizer" in system
        if "Summarizer" in system.split(".", 1)[0]:
            return "It was tried."
        files = {"data": components.DATA, "model": MODEL.format(name="test_vit"), "training": components.training(1)}
        return "A small net.\n\n" + components.fenced(**files)

    with scripted_llm(reply) as server:
        done = run_of(tmp_path, hub.base, server.base, "dataset.constraints.model=test_vit")
    assert done.returncode == 0, done.stdout + done.stderr
    records = {record.key: record for record in read(tmp_path / "run" / JOURNAL).records}
    assert VIT in records["run"].data["weights"]["at_hand"]
    assert records["check-0-0"].data["failure"] is None
    assert "weights-0-0" not in records
