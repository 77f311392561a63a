"""A pipeline's trainings: how each is called, and what its luck is drawn from."""

from __future__ import annotations

import hashlib
import re

REFIT = -1  # number, among a pipeline's replicates, of its training on all images but the test images


def suffix(replicate: int) -> str:
    """What the names of a replicate's files and steps end in; "" for a first training."""
    if replicate == REFIT:
        return "-refit"
    return f"-r{replicate}" if replicate else ""


def training_stage(replicate: int) -> str:
    """What the display says of a training: "training", "training (seed 2)", "training (all images but the test's)"."""
    if replicate == REFIT:
        return "training (all images but the test's)"
    return f"training (seed {replicate + 1})" if replicate else "training"


def predicting_stage(replicate: int) -> str:
    """What it says of its prediction: "predicting", "predicting (seed 2)"."""
    return training_stage(replicate).replace("training", "predicting", 1)


def replicate_in(stage: str) -> int:
    """Which of a pipeline's trainings such a stage is of."""
    seed = re.search(r"\(seed (\d+)\)", stage)
    return int(seed[1]) - 1 if seed else 0


def fit_phase(iteration: int, replicate: int = 0) -> str:
    """What the seed of a training is derived from, beside the run's."""
    return f"{iteration} fit{suffix(replicate)}"


def derived_seed(seed: int, phase: str) -> int:
    """A seed below 2³¹ from the run's and the phase, so that resuming needs no saved generator."""
    return int.from_bytes(hashlib.sha256(f"{seed} {phase}".encode()).digest()[:4], "big") >> 1
