"""Labelled images: from any source to inspected, prepared, blinded splits and the dataset card.

In comes a configuration of images, out goes a `Dataset` whose hidden labels stay with the trusted side. Imports
config, and of the template only how an image is read, so that training and prediction read it alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from improve.config.places import cache_folder, expanded
from improve.config.schema import DatasetConfig
from improve.datasets import sources
from improve.datasets.build import fill_entry
from improve.datasets.dataset import Dataset, open_dataset
from improve.datasets.findings import Finding, require_sound
from improve.datasets.sizes import TimeLimit
from improve.datasets.source import Downloads
from improve.datasets.store import ensure
from improve.domain import Split
from improve.errors import DataError
from improve.pipeline.template import images

__all__ = ["Dataset", "Finding", "TimeLimit", "at_hand", "check_source", "prepare", "require_sound"]

# They say how a dataset is called, described, judged and used, not what it holds.
LABELS_OF_THE_CONFIG = ("name", "description", "fit_seconds", "accept", "card", "constraints")
UNFINISHED = (".part", ".partial", ".tmp", ".lock", ".incomplete")
DOWNLOADS = "downloads"  # the folder in the cache for what sources download


def check_source(config: DatasetConfig, cache: Path | None = None) -> None:
    """Refuse at once what is visibly no dataset: an unknown source, a missing folder, one class, an empty class."""
    sources.find(config.source).key(config, Downloads((cache or cache_folder()) / DOWNLOADS))


def at_hand(config: DatasetConfig, cache: Path) -> bool:
    """Whether nothing would have to be downloaded: the images are made here, are given, or were downloaded."""
    if config.path is not None:
        return config.source != "hub" or expanded(config.path).exists()
    root = {"cifar10c": "cifar10"}.get(config.source, config.source)
    return config.source in ("digits", "dsprites") or _holds_files(Downloads(cache / DOWNLOADS).root(config, root))


def _holds_files(folder: Path) -> bool:
    """Whether something is there besides what a download that failed has left: folders, empty and partial files."""
    return any(
        path.is_file() and path.stat().st_size > 0 and path.suffix not in UNFINISHED for path in folder.rglob("*")
    )


def prepare(
    config: DatasetConfig,
    cache: Path,
    notify: Callable[[str], None],
    progress: Callable[[str], None] = lambda text: None,
    select_on: Split = "selection",
    limit: TimeLimit | None = None,
) -> Dataset:
    """The dataset that `config` describes, from `cache` if it was prepared before.

    `notify` is told what goes on, a line at a time, and `progress` how far it is, a progress bar at a time.
    `select_on="test"` is for `protocol=paper`: the selection split holds the test images then, and those that it would
    have held train (see `split.split_in_two`). `limit`, of a training, decides with the images how large they are
    prepared (None: `dataset.fit_seconds` on a CPU). What the audit found is in the dataset's `audit`; `require_sound`
    refuses what makes a result meaningless.

    Refuses with `DataError` or `ConfigError`: an unknown source, folders that are no dataset (at once), images that
    cannot be downloaded, unreadable images, too few images, no space, no permission.
    """
    source = sources.find(config.source)
    limit = limit or TimeLimit(config.fit_seconds)
    downloads = Downloads(cache / DOWNLOADS, progress)
    entry = cache / f"{_file_name(config.name)}-{_key(config, source.key(config, downloads), select_on, limit)}"
    description = config.description.strip()

    def fill(folder: Path) -> None:
        notify(f"preparing the images of {config.name} (once; they are kept in {entry})")
        fill_entry(folder, source.load(config, downloads, notify), config, progress, limit, select_on)

    ensure(entry, fill, notify)
    try:
        dataset = open_dataset(entry, config.name, description)
    except DataError as damage:
        notify(f"{damage.what} Preparing them anew.")
        shutil.rmtree(entry, ignore_errors=True)
        ensure(entry, fill, notify)
        dataset = open_dataset(entry, config.name, description)
    return dataclasses.replace(dataset, card_mode=config.card)


def _key(config: DatasetConfig, source_key: str, select_on: Split, limit: TimeLimit) -> str:
    """Names what an entry depends on: the settings, the source's files, and our own code that prepares them."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in LABELS_OF_THE_CONFIG}
    seconds = limit.rounded if config.image_size is None else None
    text = json.dumps([settings, source_key, select_on, seconds], sort_keys=True)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape"))
    for path in [Path(images.__file__), *sorted(Path(__file__).parent.rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:60] or "dataset"
