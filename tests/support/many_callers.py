"""`python -m tests.support.many_callers URL CACHE PROCESSES CALLS KEY=VALUE…`: processes that ask one model at once.

litellm is imported once and the processes are forked, so that they begin together.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.llm.client import Client
from improve.llm.library import load
from improve.llm.pace import Pace


def ask(base: str, cache: str, calls: int, limits: dict[str, Any]) -> None:
    llm = LLMConfig("local", "scripted", base, max_output_tokens=50, retry_wait_seconds=0.01, **limits)
    client = Client(llm, 0, Pace.of(llm, Path(cache)))
    for _ in range(calls):
        reply = client.ask(Prompt("You are.\n", "Say it.\n"))
        assert reply.text == "ready"
        print("retries", reply.retries.get("429", 0), flush=True)


if __name__ == "__main__":
    load()
    limits = {key: float(value) for key, value in (argument.split("=") for argument in sys.argv[5:])}
    fork = multiprocessing.get_context("fork")
    arguments = (sys.argv[1], sys.argv[2], int(sys.argv[4]), limits)
    callers = [fork.Process(target=ask, args=arguments) for _ in range(int(sys.argv[3]))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    sys.exit(any(caller.exitcode for caller in callers))
