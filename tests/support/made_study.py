"""Studies of made-up runs, written in a second. `python -m tests.support.made_study FOLDER` writes some to look at."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.refined import FAILED, Refined

COMPONENTS = ("training", "model", "data")


def run(folder: Path, study: str, accuracy: float | None, **more: Any) -> Path:
    """One run of a study whose best pipeline has this test accuracy (None: none of its pipelines has a score).

    It has two iterations, of which the first gains 0.1; zero-shot runs have none. `more`: fields of `Refined`.
    """
    single = more.get("strategy") == "zero_shot"
    gains: Sequence[float | None] = [] if single else [0.1, 0.0]
    values: dict[str, Any] = {
        "gains": gains,
        "tokens": [1000] * (len(gains) + 1),
        "usd": [0.01] * (len(gains) + 1),
        "fit_seconds": [30.0] * (len(gains) + 1),
        "first": None if accuracy is None else accuracy - (0.0 if single else 0.1),
        "tests": () if accuracy is None else (accuracy if single else accuracy - 0.1, accuracy),
        "components": COMPONENTS,
        "seconds": 120.0,
        "study": study,
    }
    made = Refined(**{**values, **more})
    number = len(list((folder / study).glob("*")))
    name = re.sub(r"[^\w.-]+", "_", f"{made.dataset[:40]}-{made.strategy}-{made.llm[:40]}-seed{made.seed}-{number}")
    return made.write(folder / study / name)


def trials(folder: Path, study: str, accuracies: Sequence[float | None], **more: Any) -> None:
    """Runs that differ in their seed alone: 0, 1, ….."""
    for seed, accuracy in enumerate(accuracies):
        run(folder, study, accuracy, seed=seed, **more)


def _story(rng: random.Random, steps: int, gain: float, fails: float) -> dict[str, Any]:
    gains = [FAILED if rng.random() < fails else max(0.0, rng.gauss(gain * 0.8**t, gain / 2)) for t in range(steps)]
    tokens = [rng.randrange(8000, 12000) for _ in range(steps + 1)]
    return {
        "gains": gains,
        "tokens": tokens,
        "usd": [count * 2e-5 for count in tokens],
        "fit_seconds": [rng.uniform(20, 90) for _ in range(steps + 1)],
        "seconds": rng.uniform(1000, 2000),
    }


def gallery(folder: Path) -> None:
    """Two studies with everything that a report has to show."""
    rng = random.Random(1)
    for llm, dataset, first in (("o1", "cifar10", 0.75), ("gpt-4o", "tiny_imagenet", 0.5)):
        for strategy, gain in (("iterative", 0.03), ("global", 0.025), ("zero_shot", 0.0)):
            for seed in range(3):
                story = _story(rng, 0 if strategy == "zero_shot" else 12, gain, 0.4)
                start = first + rng.gauss(0, 0.02)
                best = start + sum(one for one in story["gains"] if one)
                lost = (strategy, seed, llm) == ("global", 2, "gpt-4o")
                tests = () if lost else (start - 0.01, best - rng.gauss(0.008, 0.004))
                values = {"strategy": strategy, "llm": llm, "dataset": dataset, "seed": seed, "tests": tests}
                run(folder, "table4", best, **{**story, **values, "first": None if lost else start})
    for seed in range(3):
        story = _story(rng, 8, 0.05, 0.1)
        best = 0.3 + sum(one for one in story["gains"] if one)
        values = {"llm": "offline", "model": "offline/expert", "dataset": "dsprites_orientation", "seed": seed}
        tests = (0.29, best)
        run(folder, "table4", best, **{**story, **values, "first": 0.3, "tests": tests, "usd": [0.0] * 9})
    trials(folder, "table4", [0.981, 0.979, 0.984], llm="o1", dataset="cifar10", protocol="paper")
    run(folder, "table4", 0.6, llm="gpt-4o", dataset="cifar10", finished=False, tests=())
    trials(folder, "table4", [0.7, 0.71], llm="mystery", dataset="cifar10", usd=(), verified=False)
    kinds = ("gaussian_noise", "fog", "jpeg_compression", "motion_blur", "snow", "pixelate")
    for strategy, level in (("iterative", 0.9), ("zero_shot", 0.7)):
        for seed in range(3):
            strata = {kind: (round(600 * (level - rng.uniform(0, 0.2))), 600) for kind in kinds}
            run(folder, "table1", level, dataset="cifar10c5", strategy=strategy, strata=strata, seed=seed)


if __name__ == "__main__":
    gallery(Path(sys.argv[1]))
