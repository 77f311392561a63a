"""How fast a provider is asked: one pace for all processes that share a cache folder, kept in a file under a lock.

Requests and tokens each have a time from which on the next call may begin. Whoever begins a call moves it on, by what
its call takes of a minute, so calls are spread evenly and no minute holds more than is allowed. The lock is held for a
read and a write: a process that is killed, be it while it waits, holds nothing, and at most the call that it was let
make is lost. Tokens are reserved as the prompt's and those of the longest late reply (before the first: the output
limit), and set right by what the reply says.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig
from improve.errors import ConfigError

MINUTE = 60.0
LATE = 20  # replies that are remembered
LONGEST_SLEEP = 2.0  # then it is looked again: a reply may have been shorter than was reserved for it
SAY_AFTER = 5.0  # seconds of waiting that people are told of
LONGEST_DEBT = 10 * MINUTE  # what is further ahead was written by a clock that went wrong


@dataclass
class State:
    """What the file holds: times in seconds since the epoch, and the tokens of late replies."""

    requests_from: float = 0.0
    tokens_from: float = 0.0
    written: tuple[int, ...] = ()


class Pace:
    """`requests` and `tokens` are what a minute may hold; None: any number."""

    def __init__(self, file: Path, requests: float | None, tokens: float | None, longest_reply: int) -> None:
        self._file, self._requests, self._tokens, self._longest = file, requests, tokens, longest_reply

    @classmethod
    def of(cls, config: LLMConfig, cache: Path) -> Pace | None:
        """The pace of a model, shared by all who ask it with the same key; None if it has no limit."""
        if config.requests_per_minute is None and config.tokens_per_minute is None:
            return None
        who = json.dumps([asked_model(config), config.api_base, config.api_key_env])
        file = cache / "rates" / f"{hashlib.sha256(who.encode()).hexdigest()[:16]}.json"
        return cls(file, config.requests_per_minute, config.tokens_per_minute, config.max_output_tokens)

    def begin(self, prompt_tokens: int, notify: Callable[[str], None]) -> tuple[int, float]:
        """Waits until a call may begin: the tokens that are reserved for it, and how long that took (seconds)."""
        started, told = time.monotonic(), 0.0
        while True:
            with self._held() as (state, now):
                wait = max(state.requests_from, state.tokens_from) - now
                if wait <= 0:
                    reserved = prompt_tokens + max(state.written, default=self._longest)
                    state.requests_from = now + (MINUTE / self._requests if self._requests else 0.0)
                    state.tokens_from = now + (MINUTE * reserved / self._tokens if self._tokens else 0.0)
                    return reserved, time.monotonic() - started
            if wait > SAY_AFTER and time.monotonic() - told > SAY_AFTER:
                notify(f"waiting about {wait:.0f} s for the pace that llm.…_per_minute sets")
                told = time.monotonic()
            # Not all who wait at the same moment.
            time.sleep(min(wait, LONGEST_SLEEP) + random.uniform(0, 0.02))

    def end(self, reserved: int, used: int, written: int | None) -> None:
        """A call has taken so many tokens instead of those reserved; `written` are its reply's, if it got one."""
        if not self._tokens:
            return
        with self._held() as (state, _):
            state.tokens_from += MINUTE * (used - reserved) / self._tokens
            if written:
                state.written = (*state.written, written)[-LATE:]

    def pause(self, seconds: float) -> None:
        """Nobody begins a call for so long: the provider has said so to one of us."""
        with self._held() as (state, now):
            state.requests_from = max(state.requests_from, now + min(seconds, LONGEST_DEBT))

    @contextmanager
    def _held(self) -> Iterator[tuple[State, float]]:
        """The state, to be changed, and the time. Nobody else has it meanwhile."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                now = time.time()
                state = _read(file, now)
                yield state, now
                file.seek(0)
                file.truncate()
                file.write(json.dumps(vars(state)))
        except OSError as error:
            raise ConfigError(
                f"{self._file} cannot be locked or written ({error.strerror}): the pace of a model is kept there.",
                "choose a folder on another file system: cache_dir=DIR; or leave out llm.requests_per_minute and "
                "llm.tokens_per_minute",
            ) from None


def _read(file: IO[str], now: float) -> State:
    """The state; a file that a crash has left torn is one of whom nothing is known."""
    file.seek(0)
    try:
        values = json.loads(file.read())
        state = State(float(values["requests_from"]), float(values["tokens_from"]), tuple(map(int, values["written"])))
    except (ValueError, KeyError, TypeError):
        return State()
    if max(state.requests_from, state.tokens_from) > now + LONGEST_DEBT:
        return State(written=state.written)
    return state
