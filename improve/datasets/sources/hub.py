"""A dataset of the Hugging Face hub (`dataset.path=OWNER/NAME`), or one in a local folder, by the library `datasets`.

It needs a column of images and one of labels (class numbers with names, or any texts or whole numbers). Its splits
train, validation and test follow the paper's rule; a split without labels (-1) and splits of other names are left out.
Nothing that comes with a dataset is executed: the library no longer runs loading scripts.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.invocation import install_extra
from improve.config.places import expanded
from improve.config.schema import DatasetConfig
from improve.datasets.fetch import fetching
from improve.datasets.files import SIZE_SAMPLE, state
from improve.datasets.findings import Finding
from improve.datasets.labels import check_classes, is_missing
from improve.datasets.source import SPLIT_NAMES, Downloads, Raw, Source, Terms, given_part, settled
from improve.errors import ConfigError, DataError, nearest
from improve.pipeline.template.images import Preparation, UnreadableImage, decode

NO_LABEL = -1
LABEL_KINDS = ("int", "uint", "string", "large_string", "bool")  # starts of Arrow's names
BY_HAND = "download the dataset's files and give their folder as dataset.path=DIR"


def key(config: DatasetConfig, downloads: Downloads) -> str:
    """For a folder, its files; else the dataset's name, configuration and revision: give a revision to be exact."""
    _library()
    folder = expanded(config.path or "")
    if folder.is_dir():
        return state(sorted(path.absolute() for path in folder.rglob("*") if path.is_file()))
    return f"{config.path} {config.hub_config} {config.hub_revision}"


def load(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Source:
    splits, left_out = _splits(_fetch(config, downloads, notify))
    first = next(iter(splits.values()))
    image, label = _image_column(config, first), _label_column(config, first)
    splits, unlabelled = _labelled(splits, label)
    if "train" not in splits:
        raise DataError("The training images have no labels.", "choose dataset.label_column=NAME")
    splits, dropped = _without_missing(splits, label, config)
    class_names, labels, odd = _labels(splits, label, config)
    parts = np.concatenate([np.full(len(split), given_part(name, splits)) for name, split in splits.items()])
    files = [split.cast_column(image, _library().Image(decode=False)) for split in splits.values()]
    starts = np.cumsum([0, *(len(split) for split in files)])

    def content(row: int) -> bytes:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return _bytes(files[number][row - int(starts[number])][image])

    def read(row: int, to: Preparation) -> Raw:
        file = content(row)
        return Raw(decode(io.BytesIO(file), to), hashlib.blake2b(file, digest_size=32).digest(), len(file))

    found = [*left_out, *unlabelled]
    return Source(
        class_names=class_names,
        labels=labels,
        parts=parts,
        shapes=_some_shapes(content, len(labels)),
        read=read,
        name=lambda row: f"row {row:,} of {config.path}",
        terms=Terms(remove="choose another column of labels with dataset.label_column=NAME"),
        findings=(*odd, *dropped, *([f"splits of the dataset that are not used: {', '.join(found)}"] if found else [])),
    )


def _library() -> Any:
    """The library `datasets`. Raises `ConfigError` if it is not installed."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ConfigError(
            "dataset=hub needs the library `datasets`, which is not installed.",
            install_extra("hub"),
        ) from error
    return datasets


def _fetch(config: DatasetConfig, downloads: Downloads, notify: Callable[[str], None]) -> Any:
    """The splits by name. Raises `DataError` if the dataset cannot be found, loaded, or read without a log-in."""
    library = _library()
    path = str(expanded(str(config.path))) if expanded(str(config.path)).is_dir() else config.path
    cache = downloads.folder / "hub"
    notify(f"loading {config.path} with the library `datasets` (downloads are kept in {cache})")
    what = f"The dataset {config.path}"
    # It tells of each retry on stderr, in the middle of our display.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with fetching(what, cache, BY_HAND, downloads, notify):
            return library.load_dataset(path, config.hub_config, revision=config.hub_revision, cache_dir=str(cache))
    except (ValueError, TypeError) as error:
        # The library's own words: an unknown configuration with the valid ones, files that it does not know, ….
        raise DataError(
            f"{what} cannot be loaded: {error}", "dataset.hub_config=NAME chooses one of several"
        ) from error


def _splits(found: Any) -> tuple[dict[str, Any], list[str]]:
    """The splits by our names, train first, and the names of the others."""
    meaning = settled({SPLIT_NAMES.get(str(name).lower(), "") for name in found})
    named: dict[str, Any] = {}
    others = []
    for name, split in found.items():
        part = meaning[SPLIT_NAMES.get(str(name).lower(), "")]
        if not part or part in named:
            others.append(str(name))
        else:
            named[part] = split
    if "train" not in named:
        raise DataError(f"The dataset has no split 'train', only {', '.join(map(str, found))}.", "choose another one")
    return {name: named[name] for name in ("train", "val", "test") if name in named}, others


def _image_column(config: DatasetConfig, split: Any) -> str:
    columns = [name for name, feature in split.features.items() if isinstance(feature, _library().Image)]
    if config.path_column:
        if config.path_column not in columns:
            raise DataError(
                f"dataset.path_column={config.path_column}: the dataset has no such column of images.",
                nearest(config.path_column, columns),
            )
        return str(config.path_column)
    if len(columns) != 1:
        names = ", ".join(split.features)
        raise DataError(
            f"The dataset has {len(columns)} columns of images (all its columns: {names}).",
            "choose one with dataset.path_column=NAME" if columns else "choose a dataset of images",
        )
    return str(columns[0])


def _label_column(config: DatasetConfig, split: Any) -> str:
    if config.label_column not in split.features:
        raise DataError(
            f"dataset.label_column={config.label_column}: the dataset has no such column.",
            nearest(config.label_column, split.features),
        )
    kinds = {name: str(getattr(feature, "dtype", "a list")) for name, feature in split.features.items()}
    kind = kinds[config.label_column]
    if not kind.startswith(LABEL_KINDS):
        names = [name for name, other in kinds.items() if other.startswith(LABEL_KINDS)]
        raise DataError(
            f"dataset.label_column={config.label_column}: that column cannot be used as labels ({kind}).",
            f"choose another one: {', '.join(names) or 'this dataset has none'}",
        )
    return config.label_column


def _labelled(splits: dict[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    """The splits that have labels; the hub marks hidden ones with -1."""
    without = [name for name, split in splits.items() if len(split) and set(split[label]) <= {NO_LABEL, None}]
    return {name: split for name, split in splits.items() if name not in without and len(split)}, [
        f"{name} (without labels)" for name in without
    ]


def _without_missing(
    splits: dict[str, Any], label: str, config: DatasetConfig
) -> tuple[dict[str, Any], list[str | Finding]]:
    """The images that have a label. Raises `DataError` if some have none, unless these may be left out."""

    feature = next(iter(splits.values())).features[label]
    skipped = config.unlabelled == "skip" and "missing_labels" not in config.accept

    def lacks(value: Any) -> bool:
        if value is None or value == NO_LABEL or value == "":
            return True
        return skipped and is_missing(_class_name(feature, value))

    missing = sum(lacks(value) for split in splits.values() for value in split[label])
    total = sum(map(len, splits.values()))
    if not missing:
        return splits, []
    if config.unlabelled != "skip":
        raise DataError(
            f"{missing:,} of {total:,} images have no label in column {label!r}.",
            "leave them out with dataset.unlabelled=skip, or choose another column with dataset.label_column=NAME",
        )
    kept = {
        name: split.select([row for row, value in enumerate(split[label]) if not lacks(value)])
        for name, split in splits.items()
    }
    what = f"images without a label, left out: {missing:,} of {total:,}"
    return kept, [Finding("unlabelled", "warning", what)]


def _labels(
    splits: dict[str, Any], label: str, config: DatasetConfig
) -> tuple[tuple[str, ...], np.ndarray, list[Finding]]:
    """Class names, N class numbers, split after split, and what is odd about the names. Raises `DataError` for that,

    unless it is accepted, and for a single class.
    """
    values = [value for split in splits.values() for value in split[label]]
    used = sorted(set(values))
    feature = next(iter(splits.values())).features[label]
    # A class of the feature that no image has is none that could be learnt.
    names = [_class_name(feature, value) for value in used]
    if len(used) < 2:
        raise DataError(f"All images have the same class ({', '.join(names)}).", "choose dataset.label_column=NAME")
    number = {value: position for position, value in enumerate(used)}
    labels = np.array([number[value] for value in values], dtype=np.int64)
    counts = dict(zip(names, np.bincount(labels).tolist(), strict=True))
    other = "choose another column with dataset.label_column=NAME"
    fixes = dict.fromkeys(("similar_classes", "numeric_labels", "several_labels"), other)
    fixes["missing_labels"] = "leave these images out with dataset.unlabelled=skip"
    return tuple(names), labels, check_classes(counts, config, f"column {label!r} of {config.path}", fixes)


def _class_name(feature: Any, value: Any) -> str:
    return str(feature.names[value] if isinstance(feature, _library().ClassLabel) else value)


def _bytes(cell: Any) -> bytes:
    """The encoded image of a cell: inside the table, or in a file beside it. Raises `UnreadableImage`."""
    if cell is None:
        raise UnreadableImage("is missing")
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    try:
        return Path(cell["path"]).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror})") from error


def _some_shapes(content: Callable[[int], bytes], count: int) -> np.ndarray:
    """Heights and widths in pixels of a sample of the images (M × 2)."""
    shapes = []
    for row in range(0, count, max(1, count // SIZE_SAMPLE)):
        with contextlib.suppress(UnreadableImage):  # found and named when all the images are read
            picture = decode(io.BytesIO(content(row)), Preparation(1, 1, 3))
            shapes.append((picture.height, picture.width))
    return np.array(shapes, dtype=np.int64).reshape(-1, 2)
