"""`dry_run=true` of a study: a line for each run, without downloading what only the real runs need."""

from __future__ import annotations

import dataclasses
import json

from improve.commands.dry_run import DryRun, dry_run, print_line, visible
from improve.commands.prompts import Preview
from improve.config.decisive import settings
from improve.config.schema import Config
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
    shown = dataclasses.replace(config, dataset=visible(config), seed=0)
    known = {key: value for key, value in settings(shown).items() if key not in ("llm", "role_llms")}
    key = json.dumps(known, sort_keys=True)
    if key not in _previews:
        _previews[key] = Preview.of(shown)
    return _previews[key]
