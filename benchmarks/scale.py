"""1,000 runs on 64 GPUs, simulated: python -m benchmarks.scale [--runs N] [--gpus N] [--seed N]

Each run is a loop of iterations: calls to a model, a check, trainings, an entry in the journal. Calls pass a pace of
requests and tokens a minute that all runs share, as `improve.llm.pace` spreads them; trainings need a GPU for as long
as they last. Two ways to have one: a run *holds* its GPU from beginning to end (a launcher's job), or runs *share* the
GPUs and take one for a training alone (two or more runs to each GPU). The same seed gives the same table.

`Measured` was measured (benchmarks/README.md says how); `Assumed` is what a provider and a start are like: replace it
by yours. What the shared file system and the runs' own processes are asked for is counted along the way, at the busiest
ten minutes. Not simulated: failures, queues of the scheduler, how long a file system or a provider takes when it is
busy.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

MINUTE = 60.0


@dataclass(frozen=True)
class Measured:
    """Of one run; where each figure comes from is said in benchmarks/README.md."""

    calls: int = 5  # an iteration, re-asks and repairs included
    tokens: float = 10_000.0  # an iteration, read and written
    check: float = 0.5  # seconds an iteration: smoke run
    rest: float = 0.2  # seconds an iteration: audit, verdict, journal
    records: float = 10.1  # of the journal, an iteration; each is one write that waits for the disk
    files: float = 13.3  # written, an iteration
    megabytes: float = 0.11  # of these, journal included
    cpu: float = 0.45  # seconds of the processor an iteration, of the run's own process
    memory: float = 0.34  # GiB of it, once it has asked a model
    start_files: float = 5800.0  # of the environment, opened by a run's start: its own and that of its trainings
    start_gigabytes: float = 0.58  # of these, read
    compose: float = 0.144  # seconds of the processor of the process that starts the study, for each run


@dataclass(frozen=True)
class Assumed:
    """Of a cluster and a provider."""

    iterations: int = 20
    trainings: float = 1.3  # an iteration: racing trains again what may be better
    reply: float = 10.0  # seconds of a call, on average
    spread: float = 0.5  # of its logarithm
    start: float = 30.0  # seconds: imports, images, the first check
    look: float = 2.0  # seconds between looks at the pace of a call that waits (improve/llm/pace.py)


class Scenario(NamedTuple):
    """`tokens`: a minute, of all runs. `going`: runs at a time for each GPU; `held`: one that keeps its GPU."""

    training: float  # seconds
    tokens: float | None
    requests: float | None
    going: int
    held: bool


class Result(NamedTuple):
    hours: float
    busy: float  # share of the GPUs' time in which they train
    waiting: float  # share of the calls' time that the pace takes
    iterations_a_second: float  # at the busiest
    tokens_a_minute: float  # on average
    looks_a_second: float  # at the file of the pace, by calls that wait


class Pace:
    """As improve.llm.pace: calls are let through one after the other, each moving on the time of the next."""

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests, self._tokens, self._next = requests, tokens, 0.0

    def begin(self, now: float, tokens: float) -> float:
        """The time at which a call that comes now may begin."""
        at = max(now, self._next)
        steps = [MINUTE / self._requests if self._requests else 0.0, MINUTE * tokens / (self._tokens or float("inf"))]
        self._next = at + max(steps)
        return at


class Simulation:
    """`GPU`s are slots; events are (time, number, run, what it does next)."""

    def __init__(
        self, scenario: Scenario, runs: int, gpus: int, seed: int, measured: Measured, assumed: Assumed
    ) -> None:
        self._is, self._of, self._with = scenario, measured, assumed
        self._runs, self._gpus, self._chance = runs, gpus, random.Random(seed)
        self._pace = Pace(scenario.requests, scenario.tokens)
        self._free, self._queue = gpus, deque[int]()
        self._events: list[tuple[float, int, int, str]] = []
        self._number = itertools.count()
        self._left = dict.fromkeys(range(runs), assumed.iterations + 1)
        self._asked = dict.fromkeys(range(runs), 0)
        self._owed = dict.fromkeys(range(runs), 0.0)  # trainings, of which a fraction is kept for the next iteration
        self._begun, self._trained, self._paced, self._called = 0, 0.0, 0.0, 0.0
        self._ends: list[float] = []

    def carry_out(self) -> Result:
        for _ in range(min(self._runs, self._gpus * self._is.going)):
            self._start(0.0)
        now = 0.0
        while self._events:
            now, _, run, step = heapq.heappop(self._events)
            getattr(self, f"_{step}")(now, run)
        busiest = max(
            (bisect_count(self._ends, end, end + 10 * MINUTE) / (10 * MINUTE) for end in self._ends[::50]), default=0.0
        )
        tokens = len(self._ends) * self._of.tokens / (now / MINUTE)
        return Result(
            hours=now / 3600,
            busy=self._trained / (now * self._gpus),
            waiting=self._paced / (self._paced + self._called),
            iterations_a_second=busiest,
            tokens_a_minute=tokens,
            looks_a_second=self._paced / self._with.look / now,
        )

    def _then(self, at: float, run: int, step: str) -> None:
        heapq.heappush(self._events, (at, next(self._number), run, step))

    def _start(self, now: float) -> None:
        if self._begun < self._runs:
            self._then(now + self._with.start, self._begun, "ask")
            self._begun += 1

    def _ask(self, now: float, run: int) -> None:
        """A call; after the last of an iteration comes the check."""
        calls = self._of.calls
        began = self._pace.begin(now, self._of.tokens / calls)
        took = self._with.reply * self._chance.lognormvariate(-(self._with.spread**2) / 2, self._with.spread)
        self._paced, self._called = self._paced + began - now, self._called + took
        self._asked[run] += 1
        if self._asked[run] % calls:
            self._then(began + took, run, "ask")
        else:
            self._owed[run] += self._with.trainings
            self._then(began + took + self._of.check, run, "train")

    def _train(self, now: float, run: int) -> None:
        if self._is.held:
            self._then(now + self._fitting(run), run, "judge")
        elif self._free:
            self._free -= 1
            self._then(now + self._fitting(run), run, "judge")
        else:
            self._queue.append(run)

    def _fitting(self, run: int) -> float:
        """Seconds on a GPU in this iteration."""
        whole = int(self._owed[run])
        self._owed[run] -= whole
        self._trained += whole * self._is.training
        return whole * self._is.training

    def _judge(self, now: float, run: int) -> None:
        if not self._is.held:
            self._free += 1
            if self._queue:
                self._train(now, self._queue.popleft())
        self._ends.append(now)
        self._left[run] -= 1
        if self._left[run]:
            self._then(now + self._of.rest, run, "ask")
        else:
            self._start(now)


def bisect_count(times: list[float], start: float, end: float) -> int:
    """How many of the times, in order, lie from `start` to before `end`."""
    return bisect_left(times, end) - bisect_left(times, start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    measured, assumed = Measured(), Assumed()
    table = Table(title=f"{given.runs} runs of {assumed.iterations} iterations on {given.gpus} GPUs, simulated")
    for name in (
        "training, s", "tokens a minute", "runs a GPU", "hours", "GPUs train", "calls wait", "tokens used", "looks/s",
        "synced/s", "files/s", "MB/s", "starts' files/s", "cores", "GiB",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for scenario in scenarios():
        found = Simulation(scenario, given.runs, given.gpus, given.seed, measured, assumed).carry_out()
        rate = found.iterations_a_second
        table.add_row(
            f"{scenario.training:.0f}",
            f"{scenario.tokens:,.0f}" if scenario.tokens else "any",
            "1, held" if scenario.held else f"{scenario.going}",
            f"{found.hours:.1f}",
            f"{found.busy:.0%}",
            f"{found.waiting:.0%}",
            f"{found.tokens_a_minute:,.0f}",
            f"{found.looks_a_second:.0f}",
            f"{rate * measured.records:.1f}",
            f"{rate * measured.files:.1f}",
            f"{rate * measured.megabytes:.2f}",
            f"{given.runs * measured.start_files / found.hours / 3600:.0f}",
            f"{rate * measured.cpu:.1f}",
            f"{given.gpus * scenario.going * measured.memory:.0f}",
        )
    Console(width=150).print(table)
    print(
        f"the study's own process: {given.runs * measured.compose / MINUTE:.1f} minutes of a core to read the settings"
    )
    files, size = given.gpus * measured.start_files, given.gpus * measured.start_gigabytes
    print(f"the first {given.gpus} starts, at once: {files:,.0f} files, {size:.0f} GB of the environment")


def scenarios() -> list[Scenario]:
    """Short and long trainings, by what a minute may hold and how the GPUs are handed out."""
    return [
        Scenario(training, tokens, None, going, held)
        for training in (60.0, 600.0)
        for tokens in (30_000.0, 450_000.0, 2_000_000.0)
        for going, held in ((1, True), (2, False), (4, False))
    ]


if __name__ == "__main__":
    main()
