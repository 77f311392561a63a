"""What a run will ask of its models, before anybody is asked: calls, tokens and USD, from a lowest to a worst case.

The lowest case has no re-asks and no repairs; its prompts are those of an example run (the rule-based expert's first
pipeline), and its replies are as long as the expert's. A model that reasons writes more. In the worst case every reply
is asked for as often as may be, every candidate is repaired as often as may be, every reply reaches the output limit,
and prompts hold as much as they can, a token for each byte: so budgets count, too.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from improve.config.llm_names import asked_model
from improve.config.schema import Config, LLMConfig
from improve.domain import ENGINEER_OF, Prompt, Role
from improve.spending.worst_case import known_price, most_input_tokens, usual_tokens, within_context
from improve.strategies import find
from improve.strategies.strategy import Asked

ROLES: dict[Asked, tuple[Role, ...]] = {
    "architect": ("architect",),
    "engineer": tuple(ENGINEER_OF.values()),
    "analyst": ("analyst",),
    "summarizer": ("summarizer",),
    "zero_shot": ("zero_shot",),
}


@dataclass(frozen=True)
class Example:
    """What a role is shown and answers in an example run."""

    prompt: Prompt
    reply: str
    growth: int  # tokens by which the prompt may outgrow the example, besides the files of the engineers


@dataclass(frozen=True)
class Amount:
    """`usd` is None where a price is not known."""

    calls: int
    read: int  # tokens
    written: int
    usd: float | None

    @classmethod
    def sum(cls, amounts: Iterable[Amount]) -> Amount:
        amounts = list(amounts)
        prices = [amount.usd for amount in amounts if amount.usd is not None]
        return cls(
            sum(amount.calls for amount in amounts),
            sum(amount.read for amount in amounts),
            sum(amount.written for amount in amounts),
            sum(prices) if len(prices) == len(amounts) else None,
        )


@dataclass(frozen=True)
class Usual:
    """How calls of a role go: how many for each of the lowest case, and their tokens (None: as there)."""

    calls: float
    read: float | None = None
    written: float | None = None


AS_LOWEST = Usual(1.0)


@dataclass(frozen=True)
class Line:
    """One kind of role."""

    who: str
    low: Amount
    high: Amount
    typical: Amount

    @classmethod
    def sum(cls, lines: Sequence[Line]) -> Line:
        parts = ((line.low for line in lines), (line.high for line in lines), (line.typical for line in lines))
        return cls("all", *map(Amount.sum, parts))


@dataclass(frozen=True)
class Estimate:
    """Of one run."""

    lines: tuple[Line, ...]
    trainings: int  # at most
    fit_seconds: float

    @property
    def total(self) -> Line:
        return Line.sum(self.lines)


def estimate(
    config: Config, examples: Mapping[Role, Example], re_asks: int, usual: Mapping[Asked, Usual] | None = None
) -> Estimate:
    """The estimate of a checked configuration. `re_asks`: further tries at a reply that cannot be read.

    `usual`: how calls usually go; where a role is not in it, as in the lowest case.
    """
    low, high = _calls(config, re_asks)
    lines = tuple(
        _line(config, examples, who, low[who], high[who], (usual or {}).get(who, AS_LOWEST))
        for who in ROLES
        if high[who]
    )
    return Estimate(lines, 1 + _tries(config), config.executor.fit_seconds)


def _tries(config: Config) -> int:
    """Candidates after the first pipeline."""
    return config.strategy.iterations * config.strategy.candidates


def _calls(config: Config, re_asks: int) -> tuple[Counter[Asked], Counter[Asked]]:
    """How often each is asked: at least, and at most."""
    settings = config.strategy
    first, later = find(settings.name).calls(settings)
    repairs: Counter[Asked] = Counter({"engineer": settings.repairs})
    low = _times(later, _tries(config)) + first
    # As long as no pipeline has a score, an iteration begins anew: that may take more calls than a revision.
    dearer = max(first, later, key=lambda asked: sum(asked.values()))
    high = _times(dearer + repairs, _tries(config)) + first + repairs
    return low, _times(high, 1 + re_asks)


def _times(asked: Counter[Asked], factor: int) -> Counter[Asked]:
    return Counter({who: factor * count for who, count in asked.items()})


def _line(config: Config, examples: Mapping[Role, Example], who: Asked, low: int, high: int, usual: Usual) -> Line:
    """Of several roles the cheapest for the lowest case and the dearest for the worst."""
    amounts = [_amounts(config, examples[role], who, role, low, high) for role in ROLES[who]]
    lowest, worst = min((a for a, _ in amounts), key=_dear), max((b for _, b in amounts), key=_dear)
    if any(amount.usd is None for pair in amounts for amount in pair):
        # One of the roles may be dearer than all whose price is known.
        lowest, worst = (dataclasses.replace(amount, usd=None) for amount in (lowest, worst))
    likely = [_typical(config, examples[role], role, low, usual) for role in ROLES[who]]
    middle = sorted(likely, key=_dear)[len(likely) // 2]  # of three engineers the second
    if any(amount.usd is None for amount in likely):
        middle = dataclasses.replace(middle, usd=None)
    return Line(who, lowest, worst, middle)


def _typical(config: Config, example: Example, role: Role, low: int, usual: Usual) -> Amount:
    llm, calls = llm_of(config, role), round(low * usual.calls)
    if not asks_a_model(llm):
        return Amount(calls, 0, 0, 0.0)
    read = usual_tokens(example.prompt.system + example.prompt.user) if usual.read is None else round(usual.read)
    written = usual_tokens(example.reply) if usual.written is None else round(usual.written)
    return Amount(calls, calls * read, calls * written, _usd(llm, calls, read, written))


def _dear(amount: Amount) -> tuple[float, int]:
    return amount.usd or 0.0, amount.read + amount.written


def _amounts(config: Config, example: Example, who: Asked, role: Role, low: int, high: int) -> tuple[Amount, Amount]:
    llm, prompt = llm_of(config, role), example.prompt
    if not asks_a_model(llm):
        return Amount(low, 0, 0, 0.0), Amount(high, 0, 0, 0.0)
    read = usual_tokens(prompt.system + prompt.user)
    written = usual_tokens(example.reply)
    most = within_context(llm, most_input_tokens(prompt) + example.growth + _files(config, who))
    return (
        Amount(low, low * read, low * written, _usd(llm, low, read, written)),
        Amount(high, high * most, high * llm.max_output_tokens, _usd(llm, high, most, llm.max_output_tokens)),
    )


def llm_of(config: Config, role: Role) -> LLMConfig:
    return config.role_llms.get(role, config.llm)


def asked_models(config: Config) -> list[LLMConfig]:
    """The models that a run asks; none where the rule-based expert or a cassette answers."""
    first, later = find(config.strategy.name).calls(config.strategy)
    models = (llm_of(config, role) for who, roles in ROLES.items() if (first + later)[who] for role in roles)
    return list({asked_model(llm): llm for llm in models if asks_a_model(llm)}.values())


def asks_a_model(llm: LLMConfig) -> bool:
    """Whether tokens are used and paid: not by the rule-based expert, and not by a cassette."""
    return not llm.model.startswith(("offline/", "replay/"))


def _usd(llm: LLMConfig, calls: int, read: int, written: int) -> float | None:
    price = known_price(llm, read)
    return calls * (read * price.input + written * max(price.output, price.reasoning)) if price else None


def _files(config: Config, who: Asked) -> int:
    """Tokens of the files that a role is shown: as long as the engineers' replies may be."""
    if who not in ("engineer", "analyst"):
        return 0
    return sum(llm_of(config, engineer).max_output_tokens for engineer in ENGINEER_OF.values())
