"""When a call is tried again: jittered exponential waits, or what the server asks for, under one total cap."""

from __future__ import annotations

from collections.abc import Callable

import tenacity

from improve.config.schema import LLMConfig
from improve.llm.faults import CallFailed, Kind

LONGEST_WAIT = 60.0  # seconds between two tries where the server names no time


def policy(
    config: LLMConfig, patience: float, notify: Callable[[str], None], waited: Callable[[], float] = lambda: 0.0
) -> tenacity.Retrying:
    """Tries until `patience` (seconds) is over; a wait that would end after that is not begun.

    `waited` are seconds that do not count: those for a pace of our own.
    `notify` is told in words of each wait. What cannot pass by waiting is raised at once, as `CallFailed`.
    """
    first = config.retry_wait_seconds
    backoff = tenacity.wait_exponential(multiplier=first, max=LONGEST_WAIT) + tenacity.wait_random(0, first)

    def wait(state: tenacity.RetryCallState) -> float:
        failed = state.outcome.exception() if state.outcome else None
        asked = failed.wait if isinstance(failed, CallFailed) else None
        return float(backoff(state)) if asked is None else asked

    def say(state: tenacity.RetryCallState) -> None:
        failed = state.outcome.exception() if state.outcome else None
        if isinstance(failed, CallFailed):
            notify(f"waiting {state.upcoming_sleep:.0f} s: {failed.text}")

    def over(state: tenacity.RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) - waited() + state.upcoming_sleep >= patience

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, CallFailed) and error.kind is Kind.AGAIN),
        wait=wait,
        stop=over,
        before_sleep=say,
        reraise=True,
    )
