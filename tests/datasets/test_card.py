"""The dataset card: what the roles are told of the images, and what they are not told under `dataset.card=none`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from improve.agents.prompts import PromptSet
from improve.config.compose import config_from
from improve.config.schema import Config
from improve.datasets import Dataset, prepare
from improve.pipeline import architecture

WEIGHTS = {"resnet18.a1_in1k": {"file": "/somewhere/w.safetensors", "mean": (0.485, 0.456, 0.406), "std": (0.2,) * 3}}


def dataset(cache: Path, *settings: str) -> tuple[Dataset, Config]:
    config = config_from(["dataset=digits", *settings])
    return prepare(config.dataset, cache, lambda line: None), config


def test_weights_at_hand_stand_on_the_card_with_their_normalisation(cache: Path) -> None:
    images, config = dataset(cache)
    assert yaml.safe_load(images.card())["pretrained_weights"] == "none at hand"
    card = yaml.safe_load(architecture.informed(images, config.dataset, WEIGHTS).card())
    assert card["pretrained_weights"] == [
        {"name": "resnet18.a1_in1k", "mean": [0.485, 0.456, 0.406], "std": [0.2, 0.2, 0.2]}
    ]
    assert "constraints" not in card
    assert "/somewhere" not in images.card()


def test_a_constraint_stands_on_the_card(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "describe", lambda names: {name: {"name": f"{name}.tag"} for name in names})
    images, config = dataset(cache, "dataset.constraints.model=ViT-B/16")
    told = architecture.informed(images, config.dataset, {})
    assert told.required_model == "vit_base_patch16_224"
    assert "vit_base_patch16_224" in yaml.safe_load(told.card())["constraints"]["model"]


def test_without_a_card_no_prompt_tells_of_the_images(cache: Path) -> None:
    images, _ = dataset(cache, "dataset.card=none")
    assert images.card() == ""
    prompts = PromptSet("improve", None)
    values = {"context": "num_classes: 10", "error": None, "all_components": False, "unified": True, "fresh": True}
    prompt = prompts.render("architect", card=images.card(), **values)
    assert "# dataset card" not in prompt.user
    assert "Handwritten" not in prompt.user
    with_card = prompts.render("architect", card=dataset(cache)[0].card(), **values)
    assert "Handwritten" in with_card.user


def test_what_is_told_or_accepted_prepares_nothing_anew(cache: Path) -> None:
    first, _ = dataset(cache)
    again, _ = dataset(cache, "dataset.card=none", "dataset.accept=[giveaway]", "dataset.description=Other words")
    assert again.folder == first.folder
