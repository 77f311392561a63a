"""Pretrained weights that are not at hand, fetched from the Hugging Face hub by the trusted side.

Generated code has no network: what it may load is here before it starts. Weights are asked for by the configuration
(`executor.fetch_weights`), by the task (`dataset.constraints.model`), or by a model component that names them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from improve.config.schema import ExecutorConfig
from improve.errors import ConfigError
from improve.pipeline import hub
from improve.pipeline.weights import describe, find_weights, users_folder

OWNER = "timm/"  # of the repositories whose weights are safetensors in timm's names
NO_LIMIT = 1 << 62
INSTEAD = "check the network (HF_ENDPOINT, proxies), or put the file into a folder: executor.weights=FOLDER"


def covered(name: str, at_hand: Collection[str]) -> bool:
    """Whether one of the names at hand will do for timm's model `name`: one without a tag takes any.

    >>> covered("resnet18", ["resnet18.a1_in1k"]), covered("resnet18.a1_in1k", ["resnet18.tv_in1k"])
    (True, False)
    """
    return name in at_hand or ("." not in name and any(other.split(".")[0] == name for other in at_hand))


def fetch_weights(config: ExecutorConfig, progress: hub.Progress) -> None:
    """Fetches the weights of timm's models that `config.fetch_weights` names, unless they are at hand.

    Raises `ConfigError` for names that timm does not know, and where the hub cannot be reached.
    """
    if not config.fetch_weights:
        return
    at_hand = {weights.name for weights in find_weights(users_folder(config))}
    for name in config.fetch_weights:
        if not covered(name, at_hand):
            try:
                fetch(name, NO_LIMIT, progress)
            except hub.NotFetched as error:
                unknown = "no model of timm" in str(error)
                raise ConfigError(f"executor.fetch_weights={name}: {error}.", "" if unknown else INSTEAD) from error


def fetch(name: str, room: int, progress: hub.Progress) -> dict[str, Any]:
    """Fetch the weights of timm's model `name` (at most `room` bytes); what a journal tells of them.

    Gives `name` (as the cache knows it), `asked`, `licence`, and what `hub.Fetched` holds. Raises `hub.NotFetched`.
    """
    known = describe((name,))[name]
    if "name" not in known:
        near = " or ".join(known["nearest"])
        raise hub.NotFetched(f"{name} is no model of timm" + (f" (did you mean {near}?)" if near else ""))
    repository = known["hub"]
    if not repository.startswith(OWNER):
        raise hub.NotFetched(f"the hub has no safetensors of {name} in timm's names")
    progress(f"fetching the pretrained weights of {name} (once)")
    fetched = hub.fetch(repository, room, progress)
    found = repository.removeprefix(OWNER)
    return {"name": found, "asked": name, "licence": known["licence"], **fetched.record()}
