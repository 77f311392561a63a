"""Where a result would stand on a competition's leaderboard, from a file that the user supplies."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from improve.errors import ConfigError, DataError, nearest

COLUMN = "Score"
CAUTION = (
    "The ranks are where our accuracy would stand among the leaderboard's scores. Ours is measured on our own split of "
    "the labelled images, not on Kaggle's hidden test set, so they are an orientation, no placing."
)


@dataclass(frozen=True)
class Leaderboard:
    """The scores of all teams, as fractions, and the file's name."""

    file: str
    scores: tuple[float, ...]

    def rank(self, accuracy: float) -> int:
        """1 is the top; a tie takes the better place."""
        return 1 + sum(score > accuracy for score in self.scores)

    def place(self, accuracy: float) -> str:
        """ "31/115", as the paper prints it."""
        return f"{self.rank(accuracy)}/{len(self.scores)}"


def leaderboards(given: Sequence[str]) -> dict[str, Leaderboard]:
    """The leaderboard of each dataset, from arguments like "kitchenware=FILE.csv".

    Raises `ConfigError` for another form, `DataError` for a file that is no leaderboard.
    """
    found = {}
    for argument in given:
        dataset, equals, file = argument.partition("=")
        if not (dataset and equals and file):
            raise ConfigError(f"--leaderboard {argument} is not DATASET=FILE.", "give kitchenware=leaderboard.csv")
        found[dataset] = _read(Path(file))
    return found


def check_datasets(boards: Mapping[str, Leaderboard], datasets: Sequence[str]) -> None:
    """Raises `ConfigError` for a leaderboard of a dataset that no run used."""
    for name in boards:
        if name not in datasets:
            raise ConfigError(f"--leaderboard {name}=…: no run is on that dataset.", nearest(name, datasets))


def _read(path: Path) -> Leaderboard:
    fix = f"give the CSV of the leaderboard as Kaggle offers it for download: it has a column {COLUMN}"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The leaderboard {path} cannot be read: {error}.", fix) from None
    if not rows or COLUMN not in rows[0]:
        columns = f"its columns are {', '.join(map(str, rows[0]))}" if rows else "it has no rows"
        raise DataError(f"The leaderboard {path} has no column {COLUMN}: {columns}.", fix)
    scores = []
    for number, row in enumerate(rows, start=2):
        try:
            score = float(row[COLUMN])
        except (TypeError, ValueError):
            raise DataError(f"{path}, line {number}: the score {row[COLUMN]!r} is no number.", fix) from None
        if not 0 <= score <= 1:
            raise DataError(f"{path}, line {number}: the score {score:g} is no accuracy between 0 and 1.", fix)
        scores.append(score)
    return Leaderboard(path.name, tuple(scores))
