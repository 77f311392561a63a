"""`improve verify RUN`: does what the record of a run says follow from its predictions, labels and code?

With `--retrain`, the delivered pipeline is trained again from its sources, with other luck, and its new test score is
compared with the one on record.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from improve.config.decisive import selection_split
from improve.config.places import cache_folder
from improve.config.schema import Config
from improve.datasets import Dataset, prepare
from improve.display.text import one_line, percent
from improve.domain import COMPONENTS, Failure, Pipeline
from improve.errors import ConfigError, DataError, ResumeError
from improve.execution import machine
from improve.execution.local import LocalExecutor
from improve.judging.scoring import answers, load_predictions
from improve.judging.verification import Check, verify
from improve.pipeline.architecture import informed
from improve.pipeline.weights import usable_weights
from improve.record.history import History
from improve.sandbox import choose

# Standard deviation over training seeds of a test accuracy: the largest of a dozen pipelines with 20 trainings each in
# benchmarks/bank (dSprites; the least there is 0.005).
USUAL_LUCK = 0.028
MARKS = {True: "holds", False: "DOES NOT HOLD", None: "not looked at"}


def verify_run(folder: Path, retrain: bool, cache_dir: str | None = None) -> int:
    """Print what holds, what does not and what could not be looked at; gives `ResumeError`'s exit code if any does not.

    Raises `ImproveError` where there is no run, or where its journal is damaged.
    """
    history = History.read(folder)
    config = recorded_config(history)
    cache = cache_folder(cache_dir or config.cache_dir)
    dataset, why = recorded_dataset(config, cache)
    checks = [Check("the journal's chain", True, f"last link {history.link}")]
    checks += verify(history, folder, dataset)
    if retrain:
        checks.append(_retrained(history, folder, config, dataset, cache))
    for check in checks:
        detail = why or check.detail if check.what == "images and labels" else check.detail
        print(f"{MARKS[check.holds]:<14} {check.what}{f': {one_line(detail)}' if detail else ''}")
    failed = sum(check.holds is False for check in checks)
    unseen = sum(check.holds is None for check in checks)
    print(f"{len(checks) - failed - unseen} of {len(checks)} hold, {failed} do not, {unseen} could not be looked at.")
    print("The chain shows that no line was changed alone; compare its last link with the one you kept from the card.")
    return ResumeError.exit_code if failed else 0


def recorded_config(history: History) -> Config:
    """The run's configuration as this version has it; keys that it does not know are left out."""
    base = OmegaConf.structured(Config)
    try:
        merged = OmegaConf.merge(base, _known(history.run["config"], OmegaConf.to_container(base)))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the settings on record are not those of this version: {error}") from None
    assert isinstance(config, Config)
    recorded = history.run["dataset"]
    if "fit" in recorded and config.dataset.image_size is None:
        config.dataset.image_size = recorded["height"]  # which another machine may choose in another way
    return config


def _known(values: dict[str, Any], schema: Any) -> dict[str, Any]:
    return {
        key: _known(value, schema[key]) if isinstance(value, dict) and isinstance(schema[key], dict) else value
        for key, value in values.items()
        if key in schema
    }


def recorded_dataset(config: Config, cache: Path) -> tuple[Dataset | None, str]:
    """The images and labels of a run, and why there are none."""
    try:
        return prepare(config.dataset, cache, _note, select_on=selection_split(config)), ""
    except (DataError, ConfigError) as error:
        return None, error.what


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _retrained(history: History, folder: Path, config: Config, dataset: Dataset | None, cache: Path) -> Check:
    """Whether another training of the delivered pipeline scores as training luck and the test images allow."""
    what, test = "the score of another training", history.best_test
    if dataset is None or test is None or test["failure"]:
        return Check(what, None, "there are no images, or no test score")
    best = folder / "best"
    pipeline = Pipeline(**{name: (best / f"{name}.py").read_text(encoding="utf-8") for name in COMPONENTS})
    weights = usable_weights(config.executor, cache)
    with tempfile.TemporaryDirectory(prefix="improve-verify-", dir=folder) as scratch:
        executor = LocalExecutor(
            config.executor, choose(config.sandbox.mode), informed(dataset, config.dataset, weights), weights,
            Path(scratch), config.seed + 1, lambda iteration, stage, detail: None,
            slots=machine.slots(config.executor, config.strategy.candidates),
        )  # fmt: skip
        try:
            fit = executor.fit(0, pipeline)
            given: Any = fit.failure or executor.predict_test(0)
        finally:
            executor.close()
    if isinstance(given, Failure):
        return Check(what, False, f"{given.reason.value}: {given.message}")
    labels = dataset.labels("test")
    before = answers(load_predictions(folder / test["predictions"], test["sha256"])) == labels
    after = answers(given) == labels
    difference = float(after.mean() - before.mean())
    images = float(np.std(after.astype(float) - before.astype(float))) / math.sqrt(len(labels))
    allowed = 1.96 * math.sqrt(images**2 + 2 * USUAL_LUCK**2)
    said = f"{percent(float(after.mean()))} against {percent(test['accuracy'])}; up to {percent(allowed)} apart is luck"
    return Check(what, abs(difference) <= allowed, said)
