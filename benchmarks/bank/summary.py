"""What the bank shows, as the tables of its README: the luck of trainings, kept weights, refits and ensembles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.bank.load import HERE, WAYS, Predictions, load, predictions, tasks

FEW = 6  # seeds from which on a standard deviation is worth a row


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def luck(folder: Path) -> str:
    """Test accuracy of the pipelines with many seeds: mean and standard deviation over seeds."""
    rows = []
    for name in tasks(folder):
        for recipe in lucky(name, folder):
            row = [name, recipe]
            for way in WAYS:
                bank = load(name, way, folder=folder)
                here = bank.rows(recipe)
                row += [f"{100 * bank.test[here].mean():.2f} ± {points(bank.test[here].mean(axis=1).std(ddof=1))}"]
                if way == "best":
                    row.insert(2, str(len(here)))
                    row.insert(3, points(bank.selection[here].mean(axis=1).std(ddof=1)))
            rows.append(row)
    head = ["data set", "recipe", "seeds", "sd on selection", *(f"test, {way} ± sd" for way in WAYS)]
    return markdown(head, rows)


def lucky(name: str, folder: Path) -> list[str]:
    """The pipelines with many seeds, the worst first."""
    bank = load(name, folder=folder)
    groups = bank.frame.groupby("recipe")["test_accuracy"].agg(["count", "mean"])
    return list(groups[groups["count"] >= FEW].sort_values("mean").index)


def points(value: float) -> str:
    return f"{100 * value:.2f}"


def interval(values: np.ndarray) -> str:
    """Mean with its 95% interval by Student's t, in percentage points."""
    if len(values) < 2:
        return "–"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():+.2f} ± {100 * half:.2f}"


def kept(folder: Path) -> str:
    """Last and averaged weights against those of the best validation: test accuracy, pipelines as the units."""
    rows = []
    for name, task in tasks(folder).items():
        frames = [load(name, way, folder=folder).frame.set_index(["recipe", "seed"]) for way in WAYS]
        best, last, average = (frame["test_accuracy"].groupby("recipe").mean() for frame in frames)
        option = np.array([int(recipe[2]) for recipe in best.index])
        trainings = np.array([int(recipe[2]) for recipe, _ in frames[0].index])
        choices: list[tuple[str, Any]] = [("all", option >= 0)]
        choices += [(words(o), option == n) for n, o in enumerate(task["options"]["training"])]
        for number, (label, chosen) in enumerate(choices):
            count = len(trainings) if not number else (trainings == number - 1).sum()
            differences = [interval((other - best).to_numpy()[chosen]) for other in (last, average)]
            mean = f"{100 * best.to_numpy()[chosen].mean():.1f}"
            rows.append([name, label, str(chosen.sum()), str(count), mean, *differences])
    head = ["data set", "training", "pipelines", "trainings", "best, test", "last − best", "average − best"]
    return markdown(head, rows)


def words(option: dict[str, Any]) -> str:
    """A training option in a few words."""
    extra = [f"{key} {option[key]:g}" for key in ("weight_decay", "warmup", "ema", "clip") if option.get(key)]
    return ", ".join([f"{option.get('optimizer', 'adamw')} {option['schedule']} {option['lr']:g}", *extra])


def refitted(folder: Path) -> str:
    """What learning from the selection images and the validation part, too, gains on test."""
    rows = []
    for name in tasks(folder):
        for way in ("last", "average"):
            once, again = (load(name, way, kind, folder).frame for kind in ("replicate", "refit"))
            before, after = (f.groupby("recipe")["test_accuracy"].agg(["mean", "count"]) for f in (once, again))
            gains = (after["mean"] - before["mean"]).dropna()
            counts = f"{after['count'].sum()}"
            rows.append([name, way, counts, ", ".join(f"{r} {100 * gain:+.1f}" for r, gain in gains.items())])
    return markdown(["data set", "weights", "refits", "refit − replicate on test, by recipe"], rows)


def ensembles(folder: Path) -> str:
    """Votes and mean probabilities of 3 and 5 trainings of one pipeline against one."""
    rows = []
    for name in tasks(folder):
        for way in WAYS:
            found = predictions(name, way, folder=folder)
            for recipe in sorted(set(found.frame["recipe"])):
                here = np.flatnonzero(found.frame["recipe"].to_numpy() == recipe)
                if len(here) < FEW:
                    continue
                single = found.frame["test_accuracy"].to_numpy()[here].mean()
                row = [name, way, recipe, str(len(here)), f"{100 * single:.1f}"]
                for size in (3, 5):
                    row += together(found, here, size)
                rows.append(row)
    head = ["data set", "weights", "recipe", "seeds", "one", "3: vote", "3: mean", "5: vote", "5: mean"]
    return markdown(head, rows)


def together(found: Predictions, rows: np.ndarray, size: int) -> tuple[str, str]:
    """Mean test accuracy of ensembles by majority vote (ties: the member first drawn) and by mean probabilities."""
    votes, means = [], []
    right, count = found.labels["test"], 1 + int(found.labels["test"].max())
    for members in groups(rows, size):
        ballots = np.eye(count, dtype=np.float32)[found.classes["test"][members]]
        ballots[0] *= 1.5
        votes.append((ballots.sum(axis=0).argmax(axis=1) == right).mean())
        if found.probabilities:
            means.append((found.probabilities["test"][members].mean(axis=0).argmax(axis=1) == right).mean())
    return f"{100 * np.mean(votes):.1f}", f"{100 * np.mean(means):.1f}" if means else "–"


def groups(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Disjoint groups of `size` rows, in five orders."""
    for number in range(5):
        order = np.random.default_rng(number).permutation(rows)
        yield from (order[i : i + size] for i in range(0, len(order) - size + 1, size))


def made(folder: Path) -> str:
    """How many trainings there are, and what they took."""
    rows = []
    for name, task in tasks(folder).items():
        bank = load(name, folder=folder)
        refits = load(name, "last", "refit", folder)
        seeds = bank.frame.groupby("recipe").size()
        three = int((seeds >= 3).sum())
        seconds = bank.frame["fit_cpu_seconds"].median()
        counts = "/".join(f"{task['counts'][split]:,}" for split in ("train", "selection", "test"))
        steps = "–" if bank.frame.empty else str(bank.frame["steps"].iloc[0])
        numbers = [len(seeds), three, len(bank.frame), len(refits.frame)]
        rows.append([name, counts, steps, f"{seconds:.1f}", *map(str, numbers)])
    head = ["data set", "train/selection/test", "steps", "CPU-s to fit, median", "pipelines"]
    return markdown([*head, "with 3 seeds", "trainings", "refits"], rows)


def summary(folder: Path = HERE) -> str:
    """All tables."""
    tables = (made, luck, kept, refitted, ensembles)
    return "\n\n".join(f"{table.__doc__}\n\n{table(folder)}" for table in tables)
