"""Runs of several candidates an iteration, none of them better, from the bank: python -m benchmarks.siblings

In how many runs is something called better, and in how many iterations? The rules and the races of siblings are those
of `improve.judging`, not copies. All candidates are the pipeline that the run starts with, trained again: a change that
cannot matter. `racing` promises at most `alpha` of the runs, `paired` at most `alpha` of the iterations.

The arrays are small: with `OPENBLAS_NUM_THREADS=1` it is faster by far where other programs run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.rules import MANY, NULL_ITERATIONS, percent, pooled, share
from benchmarks.worlds import World, load
from improve.config.schema import AcceptanceConfig
from improve.domain import Failure, Verdict
from improve.judging.acceptance import Judgement
from improve.judging.rules import configured
from improve.judging.siblings import Ask, leader, race, surpassed
from improve.judging.standings import Standings

CANDIDATES = (1, 2, 3, 5)
RULES = {
    "racing": AcceptanceConfig("racing", 0.05),
    "paired, 0.05": AcceptanceConfig("paired", 0.05),
    "paired, 0.2": AcceptanceConfig("paired", 0.2),
}
WORLDS = ("dsprites", "fashion", "cifar10", "photos")


@dataclass(frozen=True)
class NullRun:
    """What a run called better that was not: in how many of its iterations. `trainings`: of all its pipelines."""

    wrong: int
    trainings: int


def null_run(world: World, acceptance: AcceptanceConfig, candidates: int, number: int) -> NullRun:
    """`NULL_ITERATIONS` iterations, in all of which every candidate is the pipeline that the run starts with."""
    rng = np.random.default_rng([number, 17])
    rows = world.rows[int(rng.choice(world.with_seeds(MANY)))]
    standings = Standings(configured(acceptance, NULL_ITERATIONS, candidates))

    def draw() -> np.ndarray:
        return np.asarray(world.selection[int(rng.choice(rows))])

    def train(asks: Sequence[Ask]) -> list[bool | Failure]:
        for ask in asks:
            standings.add(ask.runner, draw(), len(ask.runner.rows))
        return [True] * len(asks)

    standings.replace(standings.enter(0, draw()))
    wrong = 0
    for iteration in range(NULL_ITERATIONS):
        numbers = range(1 + iteration * candidates, 1 + (iteration + 1) * candidates)
        entries = {each: standings.enter(each, draw()) for each in numbers}
        judged = race(standings, list(entries.values()), train)
        best = leader(standings, judged)
        found = surpassed(judged, best, "another").values()
        wrong += any(isinstance(one, Judgement) and one.verdict is Verdict.ACCEPTED for one in found)
        if best is not None:
            standings.replace(entries[best])
    return NullRun(wrong, len(standings.tally().both))


def rules(candidates: int) -> dict[str, AcceptanceConfig]:
    """`RULES`, and one whose level is that of a single candidate once `configured` has divided it."""
    return {**RULES, "paired, 0.05, not corrected": AcceptanceConfig("paired", 0.05 * candidates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="runs of each data set, rule and number of candidates")
    parser.add_argument("--data", nargs="+", default=WORLDS)
    given = parser.parse_args()
    worlds = [load(name) for name in given.data]
    table = Table("rule", "candidates", "runs, %", "iterations, %", "trainings a run", "n")
    for rule in rules(1):
        for candidates in CANDIDATES:
            acceptance = rules(candidates)[rule]
            found = [[null_run(world, acceptance, candidates, n) for n in range(given.count)] for world in worlds]
            runs = pooled([share([run.wrong > 0 for run in one]) for one in found])
            wrong = sum(run.wrong for one in found for run in one)
            each = wrong / (runs["n"] * NULL_ITERATIONS)
            trainings = np.mean([run.trainings for one in found for run in one])
            table.add_row(
                rule, str(candidates), percent(runs), f"{100 * each:.2f}", f"{trainings:.1f}", f"{runs['n']:.0f}"
            )
    Console().print(table)


if __name__ == "__main__":
    main()
