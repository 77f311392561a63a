"""The architecture that a run demands of its models (`dataset.constraints.model`), in timm's words.

The paper had its VTAB models built on "ViT-B/16" (section 4.1). The smoke run checks whether a model keeps to it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from improve.config.schema import DatasetConfig
from improve.datasets import Dataset
from improve.errors import ConfigError
from improve.pipeline.weights import describe

VIT = re.compile(r"vit[-_ ]?(ti|s|b|l|h)[-_ /]?(\d+)", re.IGNORECASE)
VIT_SIZES = {"ti": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}


def informed(dataset: Dataset, config: DatasetConfig, weights: Mapping[str, Mapping[str, Any]]) -> Dataset:
    """The dataset as its card tells of it: with the weights at hand, and the architecture that is demanded.

    Raises `ConfigError` if there is no such architecture.
    """
    required = required_architecture(config.constraints.model)  # timm is asked once
    return dataclasses.replace(dataset, pretrained=weights, required_model=required)


def spellings(text: str) -> list[str]:
    """Names that timm may know the architecture by: "ViT-B/16" → vit_base_patch16_224, "ResNet-50" → resnet50.

    >>> spellings("ViT-B/16")
    ['vit_base_patch16_224']
    """
    vit = VIT.fullmatch(text.strip())
    if vit:
        return [f"vit_{VIT_SIZES[vit[1].lower()]}_patch{vit[2]}_224"]
    plain = text.strip().lower()
    return list(dict.fromkeys([text.strip(), plain, re.sub(r"[-_ ]", "", plain), re.sub(r"[- ]", "_", plain)]))


def required_architecture(text: str | None) -> str:
    """timm's name of the architecture, "" if none is demanded. Asks timm, which takes seconds.

    Raises `ConfigError`, naming the nearest ones, if timm knows none of that name.
    """
    if not text:
        return ""
    names = spellings(text)
    known = describe(tuple(names))
    for name in names:
        if "name" in known[name]:
            return str(known[name]["name"]).split(".")[0]
    near = dict.fromkeys(option for name in names for option in known[name]["nearest"])
    raise ConfigError(
        f"dataset.constraints.model={text} is no architecture that timm knows.",
        f"did you mean {' or '.join(list(near)[:3])}?" if near else "give a name of timm, for instance resnet18",
    )
