"""`dry_run=true` of a study: a line for each run, without downloading what only the real runs need."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys

from improve.commands.dry_run import DryRun, dry_run, print_line
from improve.commands.prompts import Preview
from improve.config.compose import config_from
from improve.config.decisive import settings
from improve.config.places import cache_folder
from improve.config.schema import Config, DatasetConfig
from improve.datasets import at_hand
from improve.errors import ImproveError
from improve.record.folders import folder_of
from improve.study.outcome import Outcome

_previews: dict[str, Preview] = {}  # a study's runs have few: each takes seconds


def line_of_study(config: Config) -> DryRun | Outcome:
    """Estimate one run of a study and print its line; a mistake in one does not stop the others."""
    try:
        made = dry_run(config, _preview_of(config))
    except ImproveError as error:
        return Outcome.failed(folder_of(config).name, error)
    print_line(made)
    return made


def _preview_of(config: Config) -> Preview:
    """The preview of a run, the same for all seeds and models of a study."""
    shown = dataclasses.replace(config, dataset=_visible(config), seed=0)
    known = {key: value for key, value in settings(shown).items() if key not in ("llm", "role_llms")}
    key = json.dumps(known, sort_keys=True)
    if key not in _previews:
        _previews[key] = Preview.of(shown)
    return _previews[key]


def _visible(config: Config) -> DatasetConfig:
    """The run's images, or a small stand-in where they would have to be downloaded first."""
    if at_hand(config.dataset, cache_folder(config.cache_dir)):
        return config.dataset
    _say_once(
        f"The images of dataset={config.dataset.name} are not at hand: its prompts are as long as those of digits."
    )
    digits = config_from(["dataset=digits"]).dataset
    own = config.dataset
    return dataclasses.replace(digits, description=own.description, card=own.card, constraints=own.constraints)


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
