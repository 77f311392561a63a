"""What only torch and timm can tell of weight files; run as a module, because the parent process loads neither.

python -m improve.pipeline.convert_weights convert SOURCE NAME TARGET    rewrite for timm's NAME, and verify
python -m improve.pipeline.convert_weights describe NAME_OR_FILE …       what timm knows of them, as JSON
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

# EfficientNet-Lite0's sixteen blocks: the PyTorch port counts them through, timm counts within these seven stages.
STAGES = (1, 2, 2, 3, 3, 4, 1)
OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block has no expansion, so its layers have other numbers and its last convolution another name.
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_key(key: str) -> str:
    """timm's name (`tf_efficientnet_lite0`) of a parameter of the PyTorch port. Raises `KeyError` if there is none.

    >>> timm_key("_blocks.4._bn2.weight")
    'blocks.2.1.bn3.weight'
    """
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        layer, _, parameter = key.partition(".")
        return f"{OUTSIDE_BLOCKS[layer]}.{parameter}"
    number, layer, parameter = int(block[1]), block[2], block[3]
    places = [(stage, index) for stage, length in enumerate(STAGES) for index in range(length)]
    if number >= len(places):
        raise KeyError(key)
    stage, index = places[number]
    return f"blocks.{stage}.{index}.{(OTHER_BLOCKS if number else FIRST_BLOCK)[layer]}.{parameter}"


def convert(source: Path, name: str, target: Path) -> None:
    """Write `source`, renamed, as safetensors. Whatever appears at `target` has been loaded into timm, strictly."""
    import torch
    from safetensors.torch import load_file, save_file

    foreign = torch.load(source, map_location="cpu", weights_only=True)
    state = {timm_key(key): value.contiguous() for key, value in foreign.items()}
    import timm  # takes seconds, which a damaged file need not cost

    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        save_file(state, part, metadata={"format": "pt"})
        timm.create_model(name).load_state_dict(load_file(part), strict=True)
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)  # the sandbox reads it as another user
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def describe(words: Iterable[str]) -> dict[str, dict[str, Any]]:
    """For each word that timm knows, as a model or as the file name of a model's weights: name, mean, std (RGB), hub
    (the repository of its weights on the Hugging Face hub, "" if none), licence (that of its weights, "" if unknown).

    For any other word: `{"nearest": […]}`, the models it may have meant.
    """
    import timm

    tagged = timm.list_pretrained()  # "resnet18.a1_in1k": architecture and weights; the tag may be left out
    names = {*tagged, *(name.split(".")[0] for name in tagged)}
    configs: dict[str, Any] = {name: timm.get_pretrained_cfg(name) for name in names}
    files = {PurePosixPath(configs[name].url).name: name for name in tagged if configs[name].url}
    answer: dict[str, dict[str, Any]] = {}
    for word in words:
        name = files.get(word, word)
        if name in configs:
            config = configs[name]
            found = {"name": name, "mean": config.mean, "std": config.std, "hub": config.hf_hub_id or ""}
            answer[word] = {**found, "licence": config.license or ""}
        else:
            answer[word] = {"nearest": difflib.get_close_matches(word, configs, n=3)}
    return answer


def main(arguments: list[str]) -> None:
    command, *rest = arguments
    if command == "convert":
        source, name, target = rest
        convert(Path(source), name, Path(target))
    elif command == "describe":
        print(json.dumps(describe(rest)))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
