"""What a run may still spend (tokens, USD, minutes, GPU minutes, trainings), checked before each call and training.

A check asks for the worst case: a call may take as many tokens as its prompt has bytes and its reply may reach the
output limit, a training may last until it is ended by force. So a budget is not exceeded, it is left unused in part.
What cannot be bounded before is estimated from what was measured: the time of a call, and that of the test score,
which the best pipeline gets in any case. A reply that a killed process lost is paid and on no record.

A run that has a scored pipeline ends at its budget as after its last iteration, and says why; one that has none stops
with an error, and the same command with a larger budget goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from improve.config.schema import BudgetConfig
from improve.errors import BudgetError, ConfigError

STOP = "stop"  # key and kind of the record that says why the loop ended early
# Until they have been timed: what a smoke run or a prediction may take. Most of it is imports, which take 4 to 7 s on
# an idle machine and two to four times that on a busy one.
UNTIMED_SECONDS = 30.0
ENDING_SECONDS = 5.0  # the export and the page
# Steps during which a process of the sandbox holds the GPU.
ON_GPU = ("check", "training", "score", "audit", "test", "member", "refit", "refit_test")
TRAININGS = ("training", "refit")  # what budget.trainings counts


class Step(Protocol):
    """A record of a journal."""

    @property
    def kind(self) -> str: ...

    @property
    def data(self) -> dict[str, Any]: ...

    @property
    def seconds(self) -> float: ...


class Ledger(Protocol):
    """What is counted: a journal, as `improve.record.journal.Journal` is one."""

    listeners: list[Callable[[Any], None]]

    @property
    def past_seconds(self) -> float: ...

    @property
    def upcoming(self) -> str | None: ...

    def notes(self, kind: str) -> list[dict[str, Any]]: ...

    def once(self, key: str, kind: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]: ...


class BudgetUsed(Exception):
    """The loop ends here, for what the `stop` record says: the key of the budget, and a sentence."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record["reason"])
        self.key, self.reason = str(record["budget"]), str(record["reason"])


@dataclass(frozen=True)
class Training:
    """The worst case of one training, and what the test score takes beside one of the selection images."""

    seconds: float  # until it is ended by force
    gpus: int  # that it holds; 0: it runs on CPUs
    test_share: float  # test images per selection image
    slots: int = 1  # trainings at a time


@dataclass(frozen=True)
class Need:
    """What a step may take at most. `trains`: so many trainings follow: their checks, fits and scores must fit too."""

    what: str
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    trains: int = 0


@dataclass(frozen=True)
class Shortage:
    """A budget that does not suffice for a need, in a sentence, and the least that would."""

    key: str
    reason: str
    least: str


def check_prices(limits: BudgetConfig, unpriced: Sequence[str]) -> None:
    """Refuse a budget in USD for models whose price is not known. Raises `ConfigError`."""
    if limits.usd is not None and unpriced:
        raise ConfigError(
            f"budget.usd={limits.usd} cannot be kept: the price of {', '.join(unpriced)} is not known.",
            "use budget.tokens=…, or give the price: llm.usd_per_million_input=… llm.usd_per_million_output=…",
        )


class Budget:
    """Counts what the journal records and says whether the next step may begin.

    `began`: when this session did, by the clock `now` (seconds, monotonic).
    """

    def __init__(
        self,
        limits: BudgetConfig,
        journal: Ledger,
        training: Training,
        began: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._journal, self._training, self._now = limits, journal, training, now
        self._began = began - journal.past_seconds
        self._tokens, self._usd, self.gpu_seconds, self._trainings = 0, 0.0, 0.0, 0
        self._longest: dict[str, float] = {}  # seconds by kind of step, of those that went well
        self._asked = Need("")  # the last call
        self._scored = False
        self._stops = 0
        self.promised = 0  # trainings of candidates that an iteration has so far, beside the one that is asked for
        for lost in journal.notes("unanswered"):
            self._count_lost(lost)
        journal.listeners.append(self.record)

    def record(self, record: Step) -> None:
        """A listener of the journal: it is told of the steps of earlier sessions, too."""
        data = record.data
        if record.kind == "llm" and not data.get("replay"):
            tokens = data["tokens"].get("input", 0) + data["tokens"].get("output", 0)
            # A server that counts no tokens leaves the cost unknown: then it may have been the worst case.
            self._tokens += tokens if tokens or data["usd"] == 0 else self._asked.tokens
            self._usd += self._asked.usd if data["usd"] is None else data["usd"]
        elif record.kind == "unanswered":
            self._count_lost(data)
        elif record.kind == "verdict":
            self._scored = data["incumbent"] is not None
        if not data.get("failure"):  # what failed may have ended early: it tells no time
            # What was done beside other things is recorded without waiting for it: it says itself how long it took.
            seconds = max(record.seconds, data.get("predict_seconds", 0.0))
            self._longest[record.kind] = max(self._longest.get(record.kind, 0.0), seconds)
        self._trainings += record.kind in TRAININGS
        if record.kind in ON_GPU:
            self.gpu_seconds += data.get("slot_seconds", record.seconds) * self._training.gpus

    def _count_lost(self, data: Mapping[str, Any]) -> None:
        """A call without a reply: what is paid of it are replies that broke off."""
        self._tokens += data["tokens"]["input"] + data["tokens"]["output"]
        self._usd += self._asked.usd * data["unread"] if data["usd"] is None else data["usd"]

    def before_call(self, what: str, tokens: int, usd: float | None, trains: bool) -> None:
        """Before a call that may take so many tokens and so much money (None: nobody knows, and no limit is set).

        `trains`: its reply is of use only if it is trained, so the training must fit as well. Raises `BudgetUsed`
        where the run can end with its best pipeline, `BudgetError` where it has none yet.
        """
        following = self.promised + int(trains)
        self._asked = Need(what, tokens, usd or 0.0, self._longest.get("llm", 0.0), following)
        self._allow(self._asked)

    def before_training(self, what: str) -> None:
        """Before a training starts. Raises as `before_call` does."""
        self._allow(Need(what, trains=1))

    def has_room(self, key: str) -> bool:
        """Whether a training that can be done without, the step of this key, may begin. What is on record, was done."""
        upcoming = self._journal.upcoming
        if upcoming is not None:
            return upcoming == key
        return self.room_for(1) == 1

    def room_for(self, trainings: int) -> int:
        """How many of these trainings may begin at once; for a step that is not on record."""
        short = (count for count in range(trainings) if self._shortage(Need("trainings", trains=count + 1)))
        return next(short, trainings)

    @property
    def seconds(self) -> float:
        """Of this session by the monotonic clock, and of the steps that earlier ones recorded."""
        return self._now() - self._began

    def _allow(self, need: Need) -> None:
        upcoming = self._journal.upcoming
        key = f"{STOP}-{self._stops}" if self._stops else STOP
        if upcoming == key:  # an earlier session ended the loop here
            self._stop(key, {})
        if upcoming is not None:  # on record: done and paid for
            return
        short = self._shortage(need)
        if short is None:
            return
        if not self._scored:
            raise BudgetError(
                f"{short.reason} No pipeline has a score yet.",
                f"the same command with {short.key}={short.least} or more goes on; what is done is kept",
            )
        self._stop(key, {"budget": short.key, "reason": short.reason})

    def _stop(self, key: str, stop: dict[str, Any]) -> NoReturn:
        self._stops += 1
        raise BudgetUsed(self._journal.once(key, STOP, lambda: stop))

    def _shortage(self, need: Need) -> Shortage | None:
        """The first budget that does not suffice."""
        limits = self._limits
        in_turn = math.ceil(need.trains / self._training.slots)
        minutes = (need.seconds + self._tests + in_turn * self._try + ENDING_SECONDS) / 60
        gpu_minutes = (self._tests + need.trains * self._try) * self._training.gpus / 60
        for key, limit, used, more, digits in (
            ("budget.usd", limits.usd, self._usd, need.usd, 4),
            ("budget.tokens", limits.tokens, self._tokens, need.tokens, 0),
            ("budget.minutes", limits.minutes, self.seconds / 60, minutes, 1),
            ("budget.gpu_minutes", limits.gpu_minutes, self.gpu_seconds / 60, gpu_minutes, 1),
            ("budget.trainings", limits.trainings, self._trainings, need.trains, 0),
        ):
            if limit is not None and used + more > limit:
                unit = key.split(".")[1].replace("usd", "USD").replace("_", " ").replace("gpu", "GPU")
                what = f"{need.what} and what must follow" if "minutes" in unit else need.what
                said = f"{used:.{digits}f} {unit} are spent, and {what} may take {more:.{digits}f} more."
                return Shortage(key, f"{key}={limit} does not suffice: {said}", _up(used + more, digits))
        return None

    @property
    def _try(self) -> float:
        """Seconds from a reply to its verdict: the smoke run, the fit until it is ended by force, score and audit."""
        return self._timed("check") + self._training.seconds + 2 * self._timed("score")

    @property
    def _tests(self) -> float:
        """Seconds of the test scores of the first and of the best pipeline."""
        return 2 * self._timed("score") * max(1.0, self._training.test_share)

    def _timed(self, kind: str) -> float:
        return self._longest.get(kind, UNTIMED_SECONDS)


def _up(value: float, digits: int) -> str:
    """A number that is not below `value`, with so many digits."""
    if isinstance(value, int):
        return str(value)
    step = 10**-digits
    return f"{(value // step + 1) * step:.{digits}f}"
