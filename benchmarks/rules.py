"""Refinement runs under verdict rules, simulated by drawing real trainings: python -m benchmarks.rules

The rules are those of `improve.judging`, not copies. A run starts from a pipeline drawn at random and goes on until its
trainings are used up; what a rule asks to train again counts like any other training. Four questions:

- *null*: 8 iterations that change nothing. In how many runs is something called better?
- *gain*: the candidate is truly 2.5 to 3.5 points better. How often does the search go on from it, and call it better?
- *search*: at equal numbers of trainings, how accurate is the pipeline that a run ends with, truly?
- *claims*: do the intervals of a run's claims hold? Of one pipeline against another, by so many trainings of each,
  and of what each component gained in a run.

The first and the last are answered by pipelines that were trained often. For the others, those that were trained once
so far get the luck of one of these (`worlds.load(transplanted=True)`). See docs/verdicts.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.worlds import World, load
from improve.domain import Verdict
from improve.judging.acceptance import Further, Judgement, Paired, Paper, Race, Rule
from improve.judging.claims import Step, gain, gains_by_component
from improve.judging.evidence import Shown, Tally, luck, shown
from improve.judging.racing import PRIOR, Racing
from improve.judging.scoring import wilson

Draw = np.random.Generator
NULL_ITERATIONS = 8
LENGTHS = (9, 20, 40)  # trainings
MANY = 8  # trainings that a pipeline of the null and claims questions has, at least
TRAININGS = ((1, 1), (1, 3), (3, 3), (2, 5))  # of the two pipelines that a claim is about
CLAIM_IMAGES = 1000
GAIN = (0.025, 0.035)
COMPONENTS = ("data", "model", "training")

RULES: Mapping[str, Callable[[int], Rule]] = {  # for a run of so many iterations
    "paper": lambda iterations: Paper(),
    "paired 0.2": lambda iterations: Paired(0.2),
    "paired 0.05": lambda iterations: Paired(0.05),
    "racing": lambda iterations: Racing(0.05, iterations),
}

# ---------------------------------------------------------------------- runs


@dataclass
class Entry:
    """A pipeline in a run: its number in the world, and the trainings that were drawn for it."""

    pipeline: int
    rows: list[int] = field(default_factory=list)


@dataclass
class Change:
    """A race that was decided."""

    before: Entry
    after: Entry
    judgement: Judgement


Proposer = Callable[[World, Entry, set[int], Draw], int]


def iterative(world: World, incumbent: Entry, tried: set[int], rng: Draw) -> int:
    """Another option of one component; one that the run has not tried, while there is one."""
    cell = world.cells[incumbent.pipeline]
    near = [n for n, other in enumerate(world.cells) if sum(a != b for a, b in zip(cell, other, strict=True)) == 1]
    return _pick(near, tried, rng)


def everywhere(world: World, incumbent: Entry, tried: set[int], rng: Draw) -> int:
    """Any other pipeline, as under strategy=global."""
    return _pick([n for n in range(len(world.cells)) if n != incumbent.pipeline], tried, rng)


def null(world: World, incumbent: Entry, tried: set[int], rng: Draw) -> int:
    """The same pipeline: a change that cannot matter."""
    return incumbent.pipeline


def _pick(choice: Sequence[int], tried: set[int], rng: Draw) -> int:
    fresh = [n for n in choice if n not in tried]
    return int(rng.choice(fresh or choice))


class Run:
    """A simulated run; `ends[t]`: the pipeline that it would end with after t + 1 trainings."""

    def __init__(self, world: World, rule: Rule, propose: Proposer, start: int, rng: Draw) -> None:
        self.world, self.rule, self.propose, self.rng = world, rule, propose, rng
        self.ends: list[int] = []
        self.changes: list[Change] = []
        self.others = Shown()
        self.tried = {start}
        self.first = self.incumbent = Entry(start)
        self.train(self.incumbent)

    def train(self, entry: Entry) -> None:
        rows = self.world.rows[entry.pipeline]
        entry.rows.append(int(rows[self.rng.integers(len(rows))]))
        self.ends.append(self.incumbent.pipeline)

    def iterate(self, most: int) -> None:
        """One race; when `most` trainings are used up, it must be decided."""
        candidate = Entry(self.propose(self.world, self.incumbent, self.tried, self.rng))
        self.tried.add(candidate.pipeline)
        self.train(candidate)
        while isinstance(found := self.rule.judge(self.race(candidate, most)), Further):
            self.train(candidate if found is Further.CANDIDATE else self.incumbent)
        self.changes.append(Change(self.incumbent, candidate, found))
        left = candidate
        if found.verdict.replaces:
            left, self.incumbent = self.incumbent, candidate
            self.ends[-1] = candidate.pipeline
        self.others += shown(self.world.tally, left.rows)

    def race(self, candidate: Entry, most: int) -> Race:
        races = len(self.changes) + 1
        return Race(
            self.world.tally,
            candidate.rows,
            self.incumbent.rows,
            self.others,
            races,
            len(self.ends) - 1 - races,
            len(self.ends) >= most,
        )

    @property
    def shown(self) -> Shown:
        """What all trainings of the run say of luck."""
        return self.others + shown(self.world.tally, self.incumbent.rows)


def runs(
    world: World,
    rule: Rule,
    propose: Proposer,
    count: int,
    trainings: int = 10**6,
    iterations: int = 10**6,
    starts: Sequence[int] = (),
) -> list[Run]:
    """So many runs, each until its trainings or iterations are used up. All rules see the same starts."""
    done = []
    for number in range(count):
        rng = np.random.default_rng([number, 13])
        run = Run(world, rule, propose, int(rng.choice(starts or range(len(world.cells)))), rng)
        while len(run.ends) < trainings and len(run.changes) < iterations:
            run.iterate(trainings)
        done.append(run)
    return done


# ---------------------------------------------------------------------- the four questions


def share(hits: Sequence[bool]) -> dict[str, float]:
    low, high = wilson(sum(hits), len(hits))
    return {"share": sum(hits) / len(hits), "low": low, "high": high, "n": len(hits)}


def null_runs(world: World, rule: Rule, count: int) -> dict[str, Any]:
    starts = world.with_seeds(MANY)
    found = runs(world, rule, null, count, iterations=NULL_ITERATIONS, starts=starts)
    called = [any(change.judgement.verdict is Verdict.ACCEPTED for change in run.changes) for run in found]
    trainings = np.mean([len(run.ends) - 1 for run in found]) / NULL_ITERATIONS
    return {"called": share(called), "trainings": float(trainings), "pipelines": len(starts)}


def gain_races(world: World, rule: Rule, count: int) -> dict[str, Any] | None:
    """Races in the middle of a run of 8, the incumbent trained once; None if the bank has no such pair."""
    truth = (world.truth + world.shown) / 2
    pairs = np.argwhere((truth[None] - truth[:, None] >= GAIN[0]) & (truth[None] - truth[:, None] <= GAIN[1]))
    if not len(pairs):
        return None
    kept, called, trainings = [], [], 0
    for number in range(count):
        rng = np.random.default_rng([number, 14])
        worse, better = pairs[rng.integers(len(pairs))]
        run = Run(world, rule, lambda *given, better=better: int(better), int(worse), rng)
        run.changes = [None] * 3  # type: ignore[list-item]  # races before this one, which asked for nothing more
        run.ends *= 4
        run.iterate(10**6)
        kept.append(bool(run.incumbent.pipeline == better))
        called.append(run.changes[-1].judgement.verdict is Verdict.ACCEPTED)
        trainings += len(run.ends) - 4
    return {"kept": share(kept), "called": share(called), "trainings": trainings / count, "pairs": len(pairs)}


def searches(world: World, rule: Callable[[int], Rule], propose: Proposer, count: int, length: int) -> dict[str, Any]:
    found = runs(world, rule(length - 1), propose, count, trainings=length)
    truth = np.array([[world.truth[end] for end in run.ends[:length]] for run in found])
    changes = [change for run in found for change in run.changes]
    called = [change for change in changes if change.judgement.verdict is Verdict.ACCEPTED]
    wrong = [change for change in called if world.both(change.after.pipeline) <= world.both(change.before.pipeline)]
    return {
        "ends": truth[:, -1].tolist(),
        "curve": truth.mean(axis=0).tolist(),
        "iterations": len(changes) / count,
        "trainings": sum(len(run.ends) - 1 for run in found) / len(changes),
        "called": len(called) / count,
        "wrong": len(wrong) / max(1, len(called)),
    }


def claims(world: World, count: int) -> dict[str, Any]:
    """Coverage of 95% intervals for pipelines that were trained often, by trainings of each; no other luck is known.

    The claim is made from a part of the images, the truth is the mean over all of them and over all trainings.
    """
    many, whole = world.with_seeds(MANY), np.concatenate([world.selection, world.test], axis=1)
    found: dict[str, Any] = {}
    for ours, theirs in TRAININGS:
        held, widths = [], []
        for number in range(count):
            rng = np.random.default_rng([number, ours, theirs, 15])
            better, other = rng.choice(many, 2)  # also a pipeline against itself
            images = rng.integers(0, whole.shape[1], min(CLAIM_IMAGES, whole.shape[1] // 2))
            rows = [*rng.choice(world.rows[better], ours), *rng.choice(world.rows[other], theirs)]
            tally = Tally.of(whole[rows][:, images])
            places = range(ours + theirs)
            claim = gain(tally, places[:ours], places[ours:], luck(Shown(), tally.images, PRIOR))
            held.append(claim.low <= world.both(better) - world.both(other) <= claim.high)
            widths.append(claim.high - claim.low)
        found[f"{ours} against {theirs}"] = {"held": share(held), "width": float(np.mean(widths))}
    return found


def components(world: World, count: int) -> dict[str, float]:
    """Coverage of the intervals of what components gained in runs of 8 iterations."""
    rule = Racing(0.05, NULL_ITERATIONS)
    done = runs(world, rule, iterative, count, iterations=NULL_ITERATIONS)
    return share([held for run in done for held in component_claims(world, run)])


def component_claims(world: World, run: Run) -> list[bool]:
    steps, true = [], dict.fromkeys(COMPONENTS, 0.0)
    for change in run.changes:
        if change.judgement.verdict.replaces:
            cells = [world.cells[entry.pipeline] for entry in (change.before, change.after)]
            name = COMPONENTS[next(n for n, (a, b) in enumerate(zip(*cells, strict=True)) if a != b)]
            steps.append(Step(name, change.after.rows, change.before.rows))
            true[name] += world.both(change.after.pipeline) - world.both(change.before.pipeline)
    known = luck(run.shown, world.tally.images, PRIOR)
    found = gains_by_component(world.tally, steps, len(run.changes), known)
    return [bool(one.low <= true[name] <= one.high) for name, one in found.items()]


# ---------------------------------------------------------------------- tables and figures


def measure(names: Sequence[str], count: int) -> dict[str, Any]:
    """All four questions, for each data set."""
    found: dict[str, Any] = {}
    for name in names:
        often, world = load(name), load(name, transplanted=True)
        found[name] = {
            "null": {rule: null_runs(often, made(NULL_ITERATIONS), count) for rule, made in RULES.items()},
            "gain": {rule: gain_races(world, made(NULL_ITERATIONS), count) for rule, made in RULES.items()},
            "search": {
                f"{propose.__name__} {length}": {
                    rule: searches(world, made, propose, count, length) for rule, made in RULES.items()
                }
                for propose in (iterative, everywhere)
                for length in LENGTHS
            },
            "claims": claims(often, count),
            "components": components(world, count),
        }
    return found


def percent(found: Mapping[str, float]) -> str:
    return f"{100 * found['share']:.1f} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"


def pooled(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    hits, n = round(sum(part["share"] * part["n"] for part in parts)), int(sum(part["n"] for part in parts))
    low, high = wilson(hits, n)
    return {"share": hits / n, "low": low, "high": high, "n": n}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Each question as a table; shares in percent with 95% intervals over runs."""
    return [
        _shares(found, "null", ("called",)),
        _shares(found, "gain", ("kept", "called")),
        _search(found),
        _claims(found),
    ]


def _shares(found: Mapping[str, Any], question: str, columns: Sequence[str]) -> Table:
    grid = _grid(question, ["data set", "rule", *(f"{name}, %" for name in columns), "trainings an iteration", "n"])
    for rule in RULES:
        cells = {name: part[question][rule] for name, part in found.items() if part[question][rule]}
        for name, cell in cells.items():
            shares = [percent(cell[column]) for column in columns]
            grid.add_row(name, rule, *shares, f"{cell['trainings']:.2f}", str(cell[columns[0]]["n"]))
        shares = [percent(pooled([cell[column] for cell in cells.values()])) for column in columns]
        trainings = np.mean([cell["trainings"] for cell in cells.values()])
        grid.add_row("all", rule, *shares, f"{trainings:.2f}", str(sum(c[columns[0]]["n"] for c in cells.values())))
        grid.add_section()
    return grid


def _search(found: Mapping[str, Any]) -> Table:
    """True accuracy of what runs end with, and each rule's difference to racing in runs from the same starts."""
    names = ["data set", "proposals, trainings", "racing", *(f"racing − {rule}" for rule in RULES if rule != "racing")]
    grid = _grid("search: true accuracy, points", [*names, "trainings an iteration", "called", "wrongly, %"])
    for key in next(iter(found.values()))["search"]:
        everything: dict[str, list[float]] = {}
        for name, part in found.items():
            cell = part["search"][key]
            ends = {rule: np.array(cell[rule]["ends"]) for rule in RULES}
            differences = {rule: ends["racing"] - ends[rule] for rule in RULES if rule != "racing"}
            for rule, values in differences.items():
                everything.setdefault(rule, []).extend(values)
            mine = cell["racing"]
            texts = [_points(values) for values in differences.values()]
            grid.add_row(name, key, f"{100 * ends['racing'].mean():.2f}", *texts, f"{mine['trainings']:.2f}",
                         f"{mine['called']:.2f}", f"{100 * mine['wrong']:.1f}")  # fmt: skip
        grid.add_row("all", key, "", *(_points(np.array(values)) for values in everything.values()), "", "", "")
        grid.add_section()
    return grid


def _points(values: Any) -> str:
    return f"{100 * values.mean():+.2f} ± {196 * values.std(ddof=1) / len(values) ** 0.5:.2f}"


def _claims(found: Mapping[str, Any]) -> Table:
    kinds = [f"{ours} against {theirs}" for ours, theirs in TRAININGS]
    grid = _grid("claims: 95% intervals that hold, % (width, points)", ["data set", *kinds, "components"])
    for name, part in found.items():
        cells = [part["claims"][kind] for kind in kinds]
        texts = [f"{percent(cell['held'])}, {100 * cell['width']:.1f}" for cell in cells]
        grid.add_row(name, *texts, percent(part["components"]))
    held = [percent(pooled([part["claims"][kind]["held"] for part in found.values()])) for kind in kinds]
    grid.add_row("all", *held, percent(pooled([part["components"] for part in found.values()])))
    return grid


def _grid(title: str, columns: Sequence[str]) -> Table:
    grid = Table(title=title)
    for column in columns:
        grid.add_column(column, justify="right")
    return grid


def draw(found: Mapping[str, Any], file: Path) -> None:
    """True accuracy by trainings used, a panel for each data set and way of proposing."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, len(found), figsize=(3.2 * len(found), 5.2), squeeze=False, layout="constrained")
    for column, (name, part) in enumerate(found.items()):
        for row, propose in enumerate(("iterative", "everywhere")):
            panel = panels[row][column]
            for rule, cell in part["search"][f"{propose} {LENGTHS[-1]}"].items():
                panel.plot(range(1, LENGTHS[-1] + 1), 100 * np.array(cell["curve"]), label=rule, linewidth=1.2)
            panel.set_title(f"{name}, {propose}", fontsize=9)
            panel.tick_params(labelsize=7)
    panels[0][0].legend(fontsize=7)
    figure.supxlabel("trainings", fontsize=9)
    figure.supylabel("true accuracy of the best pipeline, %", fontsize=9)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="simulated runs a cell")
    parser.add_argument("--only", nargs="+", default=["dsprites", "fashion", "cifar10", "photos"], help="data sets")
    parser.add_argument("--figure", type=Path, help="an SVG of true accuracy by trainings used")
    options = parser.parse_args()
    found = measure(options.only, options.runs)
    for table in tables(found):
        Console(width=150).print(table)
    if options.figure:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
