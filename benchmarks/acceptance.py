"""Which p-value should `acceptance=paired` accept? Simulated refinement runs, by hand: python benchmarks/acceptance.py

A run starts from a pipeline of 65% true accuracy and proposes one candidate an iteration. A candidate's true effect
is drawn from one of `MIXTURES`, as a relative change of the incumbent's error, and every retraining adds its own luck.
Each image has a latent difficulty for each pipeline; a pipeline is right where it is below the pipeline's skill.
A candidate's difficulties correlate with its incumbent's by `CORRELATION`, so a neutral candidate at 80% accuracy
disagrees with its incumbent on about 7% to 22% of the images, as two trainings of one small network do.
All rules see the same random numbers. Rejected candidates leave no trace, as in `strategy=iterative`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binom, norm

Array = NDArray[np.float64]
Single = NDArray[np.float32]

# share, and the smallest and largest relative change of the error (negative is better); None: no score.
Mixture = dict[str, tuple[float, tuple[float, float] | None]]
MIXTURES: dict[str, Mixture] = {
    "some ideas help": {
        "failure": (0.20, None),
        "neutral": (0.25, (0.0, 0.0)),
        "harmful": (0.25, (0.03, 0.50)),
        "small gain": (0.20, (-0.06, -0.01)),
        "large gain": (0.10, (-0.40, -0.10)),
    },
    "no idea helps": {
        "failure": (0.20, None),
        "neutral": (0.30, (0.0, 0.0)),
        "slightly harmful": (0.25, (0.01, 0.06)),
        "harmful": (0.25, (0.03, 0.50)),
    },
}
RETRAINING = 0.02  # standard deviation of a retraining's luck, relative to the error
CORRELATION = (0.80, 0.98)  # of an image's difficulty for incumbent and candidate, drawn for each candidate
START = 0.65  # true accuracy of the first pipeline


@dataclass(frozen=True)
class Outcome:
    """What a rule did to many runs: counts are means a run; accuracies are percent; `error` is a standard error."""

    accepted: float
    false_accepts: float
    missed_gains: float
    accuracy: float
    error: float
    optimism: float


def relative_changes(rng: np.random.Generator, mixture: Mixture, runs: int) -> Array:
    """One candidate for each run: the relative change of the error, NaN for a failure."""
    kinds = rng.choice(len(mixture), size=runs, p=[share for share, _ in mixture.values()])
    change = rng.normal(0, RETRAINING, size=runs)
    for kind, (_, span) in enumerate(mixture.values()):
        chosen = kinds == kind
        change[chosen] += np.nan if span is None else rng.uniform(*span, size=int(chosen.sum()))
    return change


def simulate(alpha: float | None, mixture: Mixture, images: int, iterations: int, runs: int) -> Outcome:
    """Runs under `paired` with `alpha`, or under the paper's rule (`alpha` None)."""
    rng = np.random.default_rng(0)
    truth = np.full(runs, START)
    difficulty = rng.standard_normal((runs, images), dtype=np.float32)
    accepted, false_accepts, missed = np.zeros((3, runs))
    for _ in range(iterations):
        change = relative_changes(rng, mixture, runs)
        proposed = np.clip(1 - (1 - truth) * (1 + change), 0, 1)
        shared = rng.uniform(*CORRELATION, size=(runs, 1)).astype(np.float32)
        own = rng.standard_normal((runs, images), dtype=np.float32)
        candidate = (shared * difficulty + np.sqrt(1 - shared**2) * own).astype(np.float32, copy=False)
        accept = decide(correct(candidate, proposed), correct(difficulty, truth), alpha) & ~np.isnan(change)
        accepted += accept
        false_accepts += accept & (proposed <= truth)
        missed += ~accept & (proposed > truth)
        truth = np.where(accept, proposed, truth)
        difficulty[accept] = candidate[accept]
    optimism = correct(difficulty, truth).mean(axis=1) - truth
    return Outcome(
        float(accepted.mean()),
        float(false_accepts.mean()),
        float(missed.mean()),
        100 * float(truth.mean()),
        100 * float(truth.std(ddof=1)) / runs**0.5,
        100 * float(optimism.mean()),
    )


def correct(difficulty: Single, accuracy: Array) -> NDArray[np.bool_]:
    """Which images a pipeline gets right: the share `accuracy` of the whole population."""
    return np.asarray(difficulty < norm.ppf(np.nan_to_num(accuracy))[:, None].astype(np.float32))


def decide(right: NDArray[np.bool_], was_right: NDArray[np.bool_], alpha: float | None) -> NDArray[np.bool_]:
    """`improve.judging.acceptance.judge` for many runs at once."""
    wins, losses = (right & ~was_right).sum(axis=1), (was_right & ~right).sum(axis=1)
    if alpha is None:
        return np.asarray(wins > losses)
    return np.asarray((wins > losses) & (binom.sf(wins - 1, wins + losses, 0.5) <= alpha))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs a cell")
    parser.add_argument("--images", type=int, nargs="+", default=[300, 2000, 10000], help="selection images")
    parser.add_argument("--iterations", type=int, nargs="+", default=[8, 20])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.01, 0.05, 0.1, 0.2, 0.3, 0.5])
    options = parser.parse_args()
    for name, mixture in MIXTURES.items():
        for iterations in options.iterations:
            title = f"{name}; {iterations} iterations, {options.runs} runs a row; counts a run, accuracies in %"
            Console(width=100).print(table(title, mixture, iterations, options))


def table(title: str, mixture: Mixture, iterations: int, options: argparse.Namespace) -> Table:
    grid = Table(title=title)
    for heading in ("images", "rule", "accepted", "false accepts", "missed gains", "true accuracy", "optimism"):
        grid.add_column(heading, justify="right")
    for images in options.images:
        for alpha in [*options.alphas, None]:
            result = simulate(alpha, mixture, images, iterations, options.runs)
            grid.add_row(
                str(images),
                "paper" if alpha is None else f"paired {alpha:g}",
                f"{result.accepted:.2f}",
                f"{result.false_accepts:.2f}",
                f"{result.missed_gains:.2f}",
                f"{result.accuracy:.2f} ± {result.error:.2f}",
                f"{result.optimism:+.2f}",
            )
        grid.add_section()
    return grid


if __name__ == "__main__":
    main()
