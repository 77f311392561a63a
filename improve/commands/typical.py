"""What calls of real language models took, by role: the middle of an estimate, between its lowest and its worst case.

From the journals below `outputs` that such models wrote, best of the very model that is asked; else from the run that
is shipped with the tests' cassette.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from improve.config.schema import StrategyConfig
from improve.domain import Role
from improve.errors import ImproveError
from improve.record.journal import JOURNAL, Record, read
from improve.spending.costs import call_tokens
from improve.spending.estimate import ROLES, Usual
from improve.strategies import find
from improve.strategies.strategy import Asked

NEWEST = 20  # runs on record that are looked at
# Calls for each that the lowest case has: 17 calls of Qwen2.5-Coder-1.5B over 3 iterations, in
# tests/cassettes/qwen2.5-coder-1.5b-digits.json. Its replies are shorter than those of larger models, so lengths are
# taken from the example run. A test counts them again.
SHIPPED: dict[Asked, Usual] = {"engineer": Usual(9 / 3)}
SHIPPED_BASIS = (
    "Typical: as many re-asks and repairs as a model of 1.5 billion parameters needed (17 calls on record), prompts "
    "and replies as in the lowest case."
)


@dataclass(frozen=True)
class Habits:
    """How calls usually go, by kind of role, and where that comes from."""

    usual: Mapping[Asked, Usual]
    basis: str


def habits(outputs: Path, model: str) -> Habits:
    """The habits of `model` by the runs on record; of other language models if it has none; else those shipped."""
    recorded = [run for run in map(_run, _newest(outputs)) if run is not None]
    own = [run for run in recorded if run.model == model]
    known = own or recorded
    if not known:
        return Habits(SHIPPED, SHIPPED_BASIS)
    who = model if own else "other language models"
    calls = sum(sum(run.calls.values()) for run in known)
    return Habits(_usual(known), f"Typical: as the {calls} calls of {who} went that are on record below {outputs}.")


@dataclass(frozen=True)
class _Run:
    """One run on record: its model, and by kind of role the calls made, those of the lowest case, and tokens."""

    model: str
    calls: Counter[Asked]
    lowest: Counter[Asked]
    read: Counter[Asked]
    written: Counter[Asked]


def _newest(outputs: Path) -> list[Path]:
    journals = sorted(outputs.rglob(JOURNAL), key=lambda path: path.stat().st_mtime) if outputs.is_dir() else []
    return journals[-NEWEST:]


def _run(journal: Path) -> _Run | None:
    """What a journal says of a language model; None if none was asked, or nothing can be told."""
    try:
        return of_records(read(journal)[0])
    except (ImproveError, OSError, KeyError, TypeError):  # damaged, or of a version that knew other keys
        return None


def of_records(records: Iterable[Record]) -> _Run | None:
    records = list(records)
    calls: list[Any] = [record.data for record in records if record.kind == "llm" and not record.data.get("replay")]
    asked = [call for call in calls if not call["model"].startswith("offline/") and call_tokens(call)]
    if not asked or records[0].kind != "run":
        return None
    settings = records[0].data["config"]["strategy"]
    known = {field.name for field in dataclasses.fields(StrategyConfig)}
    strategy = StrategyConfig(**{key: value for key, value in settings.items() if key in known})
    verdicts = sum(record.kind == "verdict" for record in records)
    first, later = find(strategy.name).calls(strategy)
    lowest: Counter[Asked] = Counter(first)
    for _ in range(verdicts - 1):
        lowest.update(later)
    return _counted(asked, lowest) if verdicts else None


def _counted(asked: list[dict[str, Any]], lowest: Counter[Asked]) -> _Run:
    calls: Counter[Asked] = Counter()
    read: Counter[Asked] = Counter()
    written: Counter[Asked] = Counter()
    for call in asked:
        who = kind_of_role(call["role"])
        calls[who] += 1
        read[who] += call["tokens"]["input"]
        written[who] += call["tokens"]["output"]
    return _Run(asked[0]["model"], calls, lowest, read, written)


def kind_of_role(role: Role) -> Asked:
    return next(who for who, roles in ROLES.items() if role in roles)


def _usual(runs: list[_Run]) -> dict[Asked, Usual]:
    found: dict[Asked, Usual] = {}
    for who in ROLES:
        calls = sum(run.calls[who] for run in runs)
        lowest = sum(run.lowest[who] for run in runs)
        if calls and lowest:
            read, written = (sum(getattr(run, part)[who] for run in runs) for part in ("read", "written"))
            found[who] = Usual(calls / lowest, read / calls, written / calls)
    return found
