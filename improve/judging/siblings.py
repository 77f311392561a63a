"""The candidates of one iteration, judged together: each races the incumbent, and the best of those ahead goes on.

A verdict depends on its own race alone, by a rule that is corrected for the number of candidates (`rules.configured`).
Where several are ahead, the search goes on from the one with the strongest evidence; the others are *surpassed*.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from improve.domain import Failure, Verdict
from improve.judging.acceptance import Further, Judgement
from improve.judging.standings import Entry, Standings

Judged = dict[int, "Judgement | Failure"]  # by the number of the candidate; a failure: it failed with another seed


@dataclass(frozen=True)
class Ask:
    """One more training that a race asks for: of whom, and the number of the candidate that is judged."""

    runner: Entry
    race: int

    @property
    def own(self) -> bool:
        """Whether it is one of the candidate itself."""
        return self.runner.iteration == self.race


# Trains what is asked for and adds it to the standings. Of each, whether there was room for it, or why it failed.
Train = Callable[[Sequence[Ask]], Sequence["bool | Failure"]]


def race(standings: Standings, entries: Sequence[Entry], train: Train) -> Judged:
    """The races of these candidates, lap by lap: what the open ones ask for in a lap is trained at once.

    A candidate that fails with another seed has failed; an incumbent that does is not trained again for this race.
    """
    judged: Judged = {}
    final: set[int] = set()
    while waiting := [entry for entry in entries if entry.iteration not in judged]:
        asks: dict[int, Ask] = {}  # by who is to run: the incumbent runs once for all
        wanted: dict[int, list[int]] = {}
        for entry in waiting:
            found = standings.judge(entry, entry.iteration in final, len(asks))
            if isinstance(found, Judgement):
                judged[entry.iteration] = found
                continue
            runner = entry if found is Further.CANDIDATE else standings.incumbent
            assert runner is not None
            asks.setdefault(runner.iteration, Ask(runner, entry.iteration))
            wanted.setdefault(runner.iteration, []).append(entry.iteration)
        for ask, made in zip(asks.values(), train(list(asks.values())), strict=True):
            if isinstance(made, Failure) and ask.own:
                judged[ask.race] = made
            elif made is not True:
                final.update(wanted[ask.runner.iteration])
    return judged


def leader(standings: Standings, judged: Mapping[int, Judgement | Failure]) -> int | None:
    """The candidate that the search would go on from: of those ahead the one with the smallest p-value, else the most
    accurate one; of equals the first. None if none is ahead."""
    accuracy = {entry.iteration: standings.accuracy(entry) for entry in standings.entries}
    ahead = [
        ((1.0 if found.p_value is None else found.p_value), -accuracy[number], number)
        for number, found in judged.items()
        if isinstance(found, Judgement) and found.verdict.replaces
    ]
    return min(ahead)[-1] if ahead else None


def surpassed(judged: Mapping[int, Judgement | Failure], best: int | None, called: str) -> Judged:
    """The verdicts once it is known who is gone on from. `called`: how people call that candidate."""
    done: Judged = {}
    for number, found in judged.items():
        if isinstance(found, Judgement) and found.verdict.replaces and number != best:
            said = found.note.removeprefix(f"{found.verdict.value}: ")
            note = f"{Verdict.SURPASSED.value}: {said}; {called} is better still"
            found = dataclasses.replace(found, verdict=Verdict.SURPASSED, note=note)
        done[number] = found
    return done
