"""Pretrained weights that are not at hand, fetched from the Hugging Face hub before a run (`executor.fetch_weights`).

Generated code has no network: what it may load is here before it starts. The hub's own cache keeps the files, and
`weights.find_weights` finds them there. The hub's client reads `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from improve.errors import ConfigError
from improve.pipeline.weights import describe, find_weights

FILES = ("config.json", "model.safetensors")


def fetch_weights(names: Sequence[str], extra_folder: Path | None, notify: Callable[[str], None]) -> None:
    """Fetches the weights of timm's models `names` unless they are at hand. Raises `ConfigError`."""
    at_hand = {weights.name for weights in find_weights(extra_folder)} if names else set()
    wanted = [name for name in names if name not in at_hand]
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
            first = str(error).strip().split("\n", 1)[0]
            raise ConfigError(
                f"{file} of {repository} cannot be fetched from the Hugging Face hub: {first}",
                "check the network (HF_ENDPOINT, proxies), or put the file into a folder: executor.weights=FOLDER",
            ) from error
