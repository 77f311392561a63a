"""Pretrained weights that are not at hand, fetched from the Hugging Face hub before a run (`executor.fetch_weights`).

Generated code has no network: what it may load is here before it starts. The hub's own cache keeps the files, and
`weights.find_weights` finds them there. The hub's client reads `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Callable

from improve.config.places import expanded
from improve.config.schema import ExecutorConfig
from improve.errors import ConfigError
from improve.pipeline.weights import describe, find_weights

FILES = ("config.json", "model.safetensors")


def fetch_weights(config: ExecutorConfig, notify: Callable[[str], None]) -> None:
    """Fetches the weights of timm's models that `config.fetch_weights` names, unless they are at hand.

    Raises `ConfigError` for names that timm does not know, and where the hub cannot be reached.
    """
    if not config.fetch_weights:
        return
    extra = expanded(config.weights) if config.weights else None
    at_hand = {weights.name for weights in find_weights(extra)}
    wanted = [name for name in config.fetch_weights if name not in at_hand]
    known = describe(tuple(wanted))
    for name in wanted:
        model = known[name]
        if "name" not in model:
            near = " or ".join(model["nearest"]) or "for instance resnet18"
            raise ConfigError(f"executor.fetch_weights={name} is no model of timm.", f"did you mean {near}?")
        if not model["hub"]:
            raise ConfigError(f"The hub has no weights of {name}.", "put them into a folder: executor.weights=FOLDER")
        if model["hub"].removeprefix("timm/") not in at_hand:
            notify(f"fetching the pretrained weights of {name} (once)")
            _fetch(model["hub"])


def _fetch(repository: str) -> None:
    # Half a second to import, and needed for this alone.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for file in FILES:
        try:
            hf_hub_download(repository, file)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            # The client's own sentence speaks of its cache; what went wrong is below it.
            first = str(error.__cause__ or error).strip().split("\n", 1)[0]
            raise ConfigError(
                f"{file} of {repository} cannot be fetched from the Hugging Face hub: {first}",
                "check the network (HF_ENDPOINT, proxies), or put the file into a folder: executor.weights=FOLDER",
            ) from error
