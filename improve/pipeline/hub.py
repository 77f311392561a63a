"""Files of pretrained networks from the Hugging Face hub: safetensors and their description, nothing else.

By the hub's own client, which reads `HF_ENDPOINT` (a mirror), `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE`, and keeps
what it fetched in its cache, where `weights.find_weights` finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ANSWER_SECONDS = 4.0  # to wait for a first answer
MEGABYTE, GIB = 1e6, 2**30
Progress = Callable[[str], None]


class NotFetched(Exception):
    """Why a file is not here, in words for people."""


@dataclass(frozen=True)
class Fetched:
    """Weights that are in the hub's cache now: of which repository and commit, bytes, and the file's SHA-256."""

    repository: str
    revision: str
    bytes: int
    sha256: str

    def record(self) -> dict[str, Any]:
        return dict(self.__dict__)


def answers() -> bool:
    """Whether the hub can be reached; takes at most some seconds. A refusal is an answer, too."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url("timm/resnet18.a1_in1k", CONFIG), timeout=ANSWER_SECONDS)
    except HfHubHTTPError:
        return True
    except (OSError, _http_error()):
        return False
    return True


def fetch(repository: str, room: int, progress: Progress) -> Fetched:
    """Fetch the weights of a repository unless they are cached, if they have at most `room` bytes.

    Raises `NotFetched`: out of reach, no safetensors, too large, damaged.
    """
    # Half a second to import, and needed for this alone.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    file = CONFIG
    try:
        hf_hub_download(repository, CONFIG, etag_timeout=ANSWER_SECONDS)
        file = WEIGHTS
        said = get_hf_file_metadata(hf_hub_url(repository, WEIGHTS))
        if said.size is None or said.size > room:
            size = "an unknown size" if said.size is None else f"{said.size / GIB:.2f} GiB"
            raise NotFetched(
                f"{repository} has {size}, and of executor.weights_limit_gib {max(0, room) / GIB:.2f} GiB are left"
            )
        told = _told(Path(repository).name, said.size, progress)
        path = Path(hf_hub_download(repository, WEIGHTS, revision=said.commit_hash, tqdm_class=told))
        hf_hub_download(repository, CONFIG, revision=said.commit_hash)  # beside the weights, if the hub has moved on
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, _http_error()) as error:
        # The client's own sentence speaks of its cache; what went wrong is below it.
        first = str(error.__cause__ or error).strip().split("\n", 1)[0]
        raise NotFetched(f"{file} of {repository} cannot be fetched from the Hugging Face hub: {first}") from error
    digest = sha256(path)
    _require_intact(path, said.etag or "", digest)
    return Fetched(repository, said.commit_hash or "", path.stat().st_size, digest)


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _require_intact(path: Path, etag: str, digest: str) -> None:
    """Large files have their SHA-256 as tag. The header is read as data; nothing in such a file can be run."""
    from safetensors import SafetensorError, safe_open

    if len(etag) == len(digest) and etag != digest:
        raise NotFetched(f"{path} is damaged: delete it")
    try:
        with safe_open(path, framework="numpy") as tensors:
            tensors.keys()
    except SafetensorError as error:
        raise NotFetched(f"{path} holds no safetensors ({error}): delete it") from None


def _http_error() -> type[Exception]:
    """What the client's connections raise."""
    import httpx

    return httpx.HTTPError


def _told(name: str, size: int, progress: Progress) -> type[Any]:
    """A bar as the client wants one, that tells `progress` each further twentieth instead of drawing itself."""

    class Told:
        def __init__(self, *_: Any, initial: float = 0, **__: Any) -> None:
            self.n, self.total, self._part = int(initial or 0), size, -1

        def __enter__(self) -> Told:
            return self

        def __exit__(self, *_: object) -> None:
            """There is nothing to close."""

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            part = 20 * self.n // max(1, size)
            if part != self._part:
                self._part = part
                progress(f"fetching {name}: {self.n / MEGABYTE:.0f} of {size / MEGABYTE:.0f} MB")

    return Told
