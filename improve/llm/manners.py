"""How a server wants to be asked: what it refused by name is left out, and JSON is asked for in the way that it knows.

Learnt once and noted in the run's journal, so that a resumed run need not be refused again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from improve.config.schema import STRUCTURED, LLMConfig

LIMITS = ("max_tokens", "max_completion_tokens")
SYSTEM = "system"
FORMAT = "response_format"
# The keys with which people say from the start what a server would else have to refuse first.
KEYS = {
    "seed": "llm.send_seed=false",
    "temperature": "llm.temperature=null",
    "max_tokens": "llm.limit_parameter=max_completion_tokens",
    "max_completion_tokens": "llm.limit_parameter=max_tokens",
    "reasoning_effort": "llm.reasoning_effort=null",
    SYSTEM: "llm.system_role=false",
}
REFUSING = re.compile(
    r"unsupported|not? (?:be |been |currently |yet )?support|n[o']t support|unknown|unrecogni[sz]ed|unexpected"
    r"|deprecated"
    r"|extra (?:inputs|fields|parameters?)|not (?:be )?(?:permitted|allowed|accepted|implemented|available|enabled)"
    r"|forbidden|invalid (?:parameter|argument|field|role|key|property|request argument)|no such|only the default"
    r"|instead|(?:must|should) be (?:removed|omitted|user)|cannot be (?:used|set)|must alternate|may not|incompatible",
    re.IGNORECASE,
)
SYSTEM_WORDS = re.compile(
    r"\bsystem['\"`]?[ _-](?:role|message|prompt|instruction)|\broles?\W{1,4}system\b"
    r"|developer (?:instruction|message|role)"
    r"|conversation roles must alternate|['\"`]system['\"`]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Manners:
    """`structured`: how JSON is asked for. `without`: parameters that are not sent. `limit`: the output limit's name,
    "" if none is sent. `context`: tokens of prompt and reply together, where the server named them.
    """

    structured: str
    without: tuple[str, ...] = ()
    system_role: bool = True
    limit: str = "max_tokens"
    context: int | None = None

    @classmethod
    def of(cls, config: LLMConfig) -> Manners:
        limit = config.limit_parameter or LIMITS[config.reasoning]
        return cls(config.structured, (), config.system_role, "" if limit == "none" else limit)

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Manners:
        return cls(
            values["structured"], tuple(values["without"]), values["system_role"], values["limit"], values["context"]
        )

    def record(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def simpler(self) -> Manners | None:
        """Asking for JSON in the next simpler way; None after the last."""
        at = STRUCTURED.index(self.structured) + 1
        return dataclasses.replace(self, structured=STRUCTURED[at]) if at < len(STRUCTURED) else None

    def less(self, name: str) -> Manners:
        """Without what was refused by this name; the output limit gets its other name first."""
        if name == SYSTEM:
            return dataclasses.replace(self, system_role=False)
        if name == self.limit:
            other = LIMITS[1 - LIMITS.index(name)]
            limit = "" if other in self.without else other
            return dataclasses.replace(self, limit=limit, without=(*self.without, name))
        return dataclasses.replace(self, without=(*self.without, name))


def refused(text: str, names: Collection[str], sent: Collection[str]) -> str | None:
    """The parameter among those `sent` that an error refuses, for whatever value; None if it is about another thing.

    `names` are the parameters that the error points at in a field of its own; its text is looked at where there are
    none.
    """
    if not REFUSING.search(text):
        return None
    pointed = [name for name in names if name in sent]
    if pointed:
        return pointed[0]
    if SYSTEM in sent and SYSTEM_WORDS.search(text):
        return SYSTEM
    found = {name: re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) for name in sent if name != SYSTEM}
    places = {name: match.start() for name, match in found.items() if match}
    return min(places, key=lambda name: places[name]) if places else None
