"""The pretrained weights of one run: those that were at hand when it began, and those fetched since for its models.

What is at hand for the roles is settled when a run begins and is on its record: prompts of a resumed run are then what
they were, though the cache holds more by now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from improve.config.schema import Config, ExecutorConfig
from improve.domain import Failure, Reason
from improve.errors import ImproveError
from improve.pipeline import hub
from improve.pipeline.asked_weights import asked_weights
from improve.pipeline.fetch_weights import INSTEAD, covered, fetch, fetch_weights
from improve.pipeline.offered_weights import OFFERED
from improve.pipeline.weights import usable_weights

Weights = Mapping[str, Mapping[str, Any]]  # as `context.json` has them: timm's name → file, mean, std


class Supply:
    """`at_hand` when the run began; `on_demand`: whether further ones are fetched when a model names them."""

    def __init__(
        self, config: ExecutorConfig, cache: Path, weights: Weights, on_demand: bool, fetching: bool = True
    ) -> None:
        self.config, self.cache, self.on_demand, self.fetching = config, cache, on_demand, fetching
        self.at_hand: Weights = weights
        self._known = set(weights)
        self._left = int(config.weights_limit_gib * 2**30)

    @classmethod
    def of(
        cls,
        config: Config,
        cache: Path,
        past: Mapping[str, Any] | None,
        required: str,
        note: Callable[[str], None],
        fetching: bool = True,
    ) -> Supply:
        """At the start of a session. `past`: the `run` record of an earlier one. `required`: timm's name of the
        architecture that the task demands, "" if none; its weights are fetched, too. Not `fetching`: none are, ever.

        Raises `ConfigError` where weights that the configuration names cannot be had.
        """
        executor = config.executor
        if fetching:
            fetch_weights(executor, note)
        recorded = past.get("weights", {}) if past else None
        on_demand = may_fetch(config, fetching) if recorded is None else bool(recorded.get("on_demand"))
        weights = usable_weights(executor, cache)
        if on_demand and fetching and required and not covered(required, weights):
            try:
                fetch(required, int(executor.weights_limit_gib * 2**30), note)
            except hub.NotFetched as error:
                note(f"{required} is built without pretrained weights: {error}. To have some, {INSTEAD}")
            weights = usable_weights(executor, cache)
        if recorded and "at_hand" in recorded:
            weights = {name: found for name, found in weights.items() if name in recorded["at_hand"]}
        return cls(executor, cache, weights, on_demand, fetching)

    def record(self) -> dict[str, Any]:
        """As the `run` record has it."""
        return {"at_hand": sorted(self.at_hand), "on_demand": self.on_demand}

    def offered(self) -> dict[str, str]:
        """What the roles are told of networks whose weights can be fetched, by name; empty if none can."""
        missing = [one for one in OFFERED if not covered(one.name, self.at_hand)]
        return {one.name: one.said for one in missing} if self.on_demand else {}

    def missing(self, model: str) -> list[str]:
        """Weights that the source of a model component asks for and that would have to be fetched."""
        return [name for name in asked_weights(model) if not covered(name, self._known)] if self.on_demand else []

    def provide(self, names: list[str], progress: hub.Progress) -> dict[str, Any]:
        """Fetch what is missing: a `weights` record but for whose it is. What cannot be had is the engineer's."""
        fetched: list[dict[str, Any]] = []
        for name in names:
            try:
                fetched.append(fetch(name, self._left - sum(one["bytes"] for one in fetched), progress))
            except hub.NotFetched as error:
                at_hand = ", ".join(sorted(self._known)) or "none"
                message = (
                    f"model.py: no pretrained weights for {name}: {error}. At hand: {at_hand}. Use one of these, or "
                    "build the network without pretrained weights."
                )
                failure = Failure(Reason.CONTRACT, message, "model")
                return {"wanted": names, "fetched": fetched, "said": _said(fetched), "failure": failure.record()}
        return {"wanted": names, "fetched": fetched, "said": _said(fetched), "failure": None}

    def adopt(self, fetched: list[dict[str, Any]], progress: hub.Progress) -> Weights:
        """The weights of a `weights` record for those that need them; fetched again if they are gone by now.

        Raises `ImproveError` if they cannot be had, or are not what they were.
        """
        self._known.update(one["name"] for one in fetched)
        self._left -= sum(one["bytes"] for one in fetched)
        found: dict[str, Mapping[str, Any]] = {}
        for one in fetched:
            weights = usable_weights(self.config, self.cache)
            if one["name"] not in weights:
                if not self.fetching:
                    continue  # all is on record: nobody needs them
                self._again(one, progress)
                weights = usable_weights(self.config, self.cache)
            entry = found[one["name"]] = weights[one["name"]]
            if hub.sha256(Path(entry["file"])) != one["sha256"]:
                raise ImproveError(
                    f"{entry['file']} is not what this run fetched (SHA-256 {one['sha256'][:12]}…).",
                    "delete that file, and start the command again",
                )
        return found

    def _again(self, one: Mapping[str, Any], progress: hub.Progress) -> None:
        try:
            fetch(one["asked"], int(one["bytes"]), progress)
        except hub.NotFetched as error:
            raise ImproveError(f"This run needs the weights of {one['name']}: {error}.", INSTEAD) from error


def _said(fetched: list[dict[str, Any]]) -> str:
    """For people; "" if nothing was."""
    named = [f"{one['name']} ({one['bytes'] / 1e6:.0f} MB)" for one in fetched]
    return f"fetched the pretrained weights of {', '.join(named)}" if named else ""


def may_fetch(config: Config, asking: bool) -> bool:
    """Whether weights may be fetched on demand: allowed, wanted by somebody, and the hub answers.

    Not `asking` (a dry run, a prompt that is looked at): nobody is reached, so it is taken for granted that it would.
    """
    executor = config.executor
    asked = (config.llm, *config.role_llms.values())
    if not (executor.pretrained and executor.weights_on_demand) or all(m.model.startswith("offline/") for m in asked):
        return False  # the rule-based expert builds on what is at hand
    return not asking or hub.answers()
