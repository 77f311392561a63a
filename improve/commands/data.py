"""`improve data check` and `improve data show`: a dataset as a run would have it, without a run.

The arguments are those of `improve run`; what does not concern the images is checked and has no influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.decisive import selection_split
from improve.config.places import cache_folder, expanded
from improve.config.schema import ACCEPTABLE, Config, DatasetConfig
from improve.datasets import Dataset, Finding, prepare
from improve.datasets.dataset import LABELS
from improve.datasets.findings import by_severity, stopping
from improve.datasets.labels import accepting
from improve.datasets.pictures import class_images, contact_sheet
from improve.display.sentences import SPLITS
from improve.display.text import one_line
from improve.errors import ConfigError, DataError
from improve.execution import machine
from improve.pipeline.architecture import informed
from improve.pipeline.weights import usable_weights

STYLES = {"stop": "bold red", "warning": "yellow", "note": "dim"}
EXAMPLES = 3  # shown for one finding
MOST_CLASSES = 200  # that are listed


def check_data(settings: Sequence[str], console: Console | None = None) -> int:
    """Print what the audit finds; gives `DataError`'s exit code if a run would stop because of it, else 0.

    Raises `ImproveError` for settings that are wrong, and for images that cannot be prepared at all.
    """
    config = _configured(settings)
    console = console or Console()
    refused: list[Finding] = []
    try:
        dataset = _prepared(config)
    except DataError as error:
        if config.dataset.unreadable == "skip":
            raise
        # Some files cannot be read, or more is wrong: the rest of the images tells.
        refused = [Finding("refused", "stop", error.what, error.fix)]
        config.dataset.unreadable = "skip"
        dataset = _prepared_despite(config, error)
        found = [finding for finding in dataset.audit if finding.code != "unreadable"]
    else:
        found = list(dataset.audit)
    found = [*refused, *by_severity(found)]
    _print(dataset, found, config.dataset, console)
    stops = stopping(found, config.dataset.accept)
    if not stops:
        console.print(Text("A run would start.", "green"))
        return 0
    console.print(Text(f"A run would stop here: {len(stops)} of these make a result meaningless.", "bold red"))
    names = dict.fromkeys(finding.code for finding in stops if finding.code in ACCEPTABLE)
    if names:
        console.print(Text(f"To run all the same: {accepting(config.dataset, *names)}"))
    return DataError.exit_code


def show_data(settings: Sequence[str], out: Path) -> None:
    """Write a contact sheet of the training images (PNG) and print the dataset card. Raises `ImproveError`."""
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out.absolute().parent} is no folder.", "choose another file: -o FILE.png")
    config = _configured(settings)
    dataset = _prepared(config)
    dataset = informed(dataset, config.dataset, usable_weights(config.executor, cache_folder(config.cache_dir)))
    classes = list(class_images(dataset))
    try:
        contact_sheet(classes).save(out, format="PNG")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", "choose another file: -o FILE.png") from None
    print(dataset.card(), end="")
    print(f"{out}: training images of {len(classes)} of {len(dataset.class_names)} classes")


def _configured(settings: Sequence[str]) -> Config:
    config = config_from(settings)
    check(config)
    return config


def _prepared(config: Config) -> Dataset:
    cache, console = cache_folder(config.cache_dir), Console(stderr=True)
    with console.status("preparing") as status:
        return prepare(
            config.dataset,
            cache,
            lambda line: console.print(Text(line), soft_wrap=True),
            lambda text: status.update(Text(text)),
            selection_split(config),
            machine.time_limit(config.executor),
        )


def _prepared_despite(config: Config, error: DataError) -> Dataset:
    """The dataset without its unreadable files. Raises the first error again where that does not help."""
    try:
        return _prepared(config)
    except DataError:
        raise error from None


def _folder(path: str) -> Path:
    """Where the images are that a `dataset.path` names: file names are shown from there."""
    given = expanded(path)
    return given.parent if given.is_file() else given


def _print_classes(dataset: Dataset, console: Console) -> None:
    """Each class with its number of images in each split, as many as can be read at a glance."""
    table = Table(Column("class", overflow="fold"), *(Column(name, justify="right") for _, name in SPLITS))
    labels = [np.load(dataset.train_folder / LABELS), dataset.labels("selection"), dataset.labels("test")]
    counts = [np.bincount(numbers, minlength=len(dataset.class_names)) for numbers in labels]
    for number, name in enumerate(dataset.class_names[:MOST_CLASSES]):
        table.add_row(Text(one_line(name)), *(f"{count[number]:,}" for count in counts))
    more = len(dataset.class_names) - MOST_CLASSES
    if more > 0:
        table.add_row(Text(f"… and {more:,} more"))
    console.print(table)


def _print(dataset: Dataset, found: Sequence[Finding], config: DatasetConfig, console: Console) -> None:
    counts = ", ".join(f"{dataset.counts[split]:,} {name}" for split, name in SPLITS)
    stored = f" (kept at {dataset.stored} × {dataset.stored})" if dataset.stored else ""
    size = f"{dataset.width} × {dataset.height} pixels{stored}, {'grey' if dataset.channels == 1 else 'RGB'}"
    console.print(Text(f"{dataset.name}: {len(dataset.class_names)} classes; {counts} images; {size}", "bold"))
    _print_classes(dataset, console)
    if not found:
        console.print("The audit found nothing to complain about.")
        return
    root = f"{_folder(config.path)}/" if config.path else ""
    table = Table("severity", Column("what", overflow="fold"), Column("what to do", overflow="fold"), show_lines=True)
    for finding in found:
        severity = f"{finding.severity}, accepted" if finding.code in config.accept else finding.severity
        what = Text(one_line(finding.what))
        for example in finding.examples[:EXAMPLES]:
            what.append(f"\n  {one_line(example.replace(root, '') if root else example)}", "dim")
        table.add_row(Text(severity, STYLES[finding.severity]), what, Text(finding.fix))
    console.print(table)
