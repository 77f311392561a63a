"""One language model through litellm, or the rule-based expert: a prompt in, a `Reply` out.

What may pass is tried again; what ends a run is an `LLMError`; what ends only this call (the provider declines, the
prompt is too long) is a `Reply` that says so, because it goes on record like any other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.llm import advice, cut_prompt, request
from improve.llm import reply as replies
from improve.llm.faults import CallFailed, Kind, Unanswered
from improve.llm.library import FREE, load, model_for
from improve.llm.manners import Manners
from improve.llm.pace import Pace
from improve.llm.reply import Reply
from improve.llm.retry import policy
from improve.spending.prices import price_of

OFFLINE_PROVIDER = "offline"
# Faults that end this one call with a reply on record, and the reason that it gives.
ENDS = {
    Kind.REFUSED: replies.REFUSED,
    Kind.CONTEXT: replies.CONTEXT,
    Kind.ENDLESS: replies.LENGTH,
    Kind.UNREADABLE: replies.UNREADABLE,
}
LEARNS = (Kind.FORMAT, Kind.PARAMETER, Kind.ROOM)
MAX_UNREAD = 3  # replies that break off, in one call: all of them are paid
MAX_PAGES = 3  # web pages in place of an answer, from a server that has never answered: it is not an API


@dataclass
class Tries:
    """What became of the tries of one call."""

    began: float  # monotonic
    patience: float  # seconds after which no further try begins
    failed: Counter[str] = field(default_factory=Counter)  # by HTTP status; "none": there was no answer
    unread: int = 0
    pages: int = 0
    waited: float = 0.0  # seconds, for the pace
    reserved: int = 0  # tokens of the present try

    @property
    def seconds(self) -> float:
        """Since the call began, without waiting for the pace."""
        return time.monotonic() - self.began - self.waited


class Client:
    """Asks the configured model. `notify` is told in words when a call has to wait."""

    def __init__(self, config: LLMConfig, seed: int, pace: Pace | None = None) -> None:
        self.config, self.seed, self._pace = config, seed, pace
        self.notify: Callable[[str], None] = lambda text: None
        # Told what the server has taught: its manners, and a sentence for people.
        self.learnt: Callable[[Manners, str], None] = lambda manners, said: self.notify(said)
        self.manners = Manners.of(config)
        self._model = ""  # as litellm is told it; known after the first look at the provider
        self._answers = False  # whether the server has ever answered

    @property
    def offline(self) -> bool:
        """Whether the rule-based expert answers and no language model is asked."""
        return self.config.model.startswith(OFFLINE_PROVIDER + "/")

    @property
    def host(self) -> str | None:
        """The only host that may be asked; None: the provider's own."""
        return urlsplit(self.config.api_base).hostname if self.config.api_base else None

    def ask(
        self,
        prompt: Prompt,
        as_json: Mapping[str, Any] | None = None,
        sample: int = 0,
        patience: float | None = None,
    ) -> Reply:
        """One answered call; `as_json` is the JSON schema of the answer, which the provider is held to where it can.

        A prompt that is asked several times gets another seed for each `sample`, where the provider takes one. The
        caller numbers the samples, so that a resumed run, which asks only for some of them, goes on with the right one.
        `patience`: seconds for which it is tried, if fewer than `llm.retry_seconds`.
        Raises `LLMError` for what retrying cannot mend (key, credit, address) and for what did not pass in time.
        """
        if self.offline:
            from improve.expert.expert import answer

            text = answer(prompt.system, prompt.user, self._seed(sample), self.config.model.endswith("/random"))
            return Reply(text, "stop", dict(replies.NOTHING), 0.0, 0.0)
        litellm, _ = load()
        cap = self.config.retry_seconds
        tries = Tries(
            time.monotonic(), cap if patience is None else min(patience, cap)
        )  # litellm's import is no part of the call
        try:
            response = self._answered(prompt, as_json, tries, self._seed(sample))
        except CallFailed as failed:
            return self._ended(failed, prompt, tries)
        reply = replies.read(self.config, response, litellm.model_cost, tries.seconds, as_json)
        self._answers = True
        if self._pace:
            used = reply.tokens["input"] + reply.tokens["output"]
            self._pace.end(tries.reserved, used or tries.reserved, reply.tokens["output"])
        self._look_at(reply, as_json)
        return self._counted(self._if_cut(reply, prompt), prompt, tries)

    def _seed(self, sample: int) -> int:
        """The run's own seed for sample 0, else a hash of both (below 2³¹): runs of a study have different samples."""
        if not sample:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{self.seed} sample {sample}".encode()).digest()[:4], "big") >> 1

    def _answered(self, prompt: Prompt, schema: Mapping[str, Any] | None, tries: Tries, seed: int) -> Any:
        """litellm's response after as many tries as it needs. A retry may not last beyond the cap, either."""
        response: Any = None
        for attempt in policy(self.config, tries.patience, self.notify, lambda: tries.waited):
            with attempt:
                seconds = self.config.timeout_seconds
                if attempt.retry_state.attempt_number > 1:
                    seconds = min(seconds, max(1.0, tries.patience - tries.seconds))
                response = self._try(prompt, schema, seconds, seed, tries)
        return response

    def _try(self, prompt: Prompt, schema: Mapping[str, Any] | None, seconds: float, seed: int, tries: Tries) -> Any:
        """One try: litellm's response. Raises `CallFailed`."""
        from improve.llm.trouble import trouble  # needs the HTTP client, which a run without a model does without

        litellm, wire = load()
        model = self.model()
        arguments = request.build(self.config, model, prompt, schema, self.manners, seed)
        self._keep_pace(prompt, tries)
        timeout = wire.begin(seconds, self.host, model.startswith((FREE, "openai/")))
        try:
            response = litellm.completion(**arguments, timeout=timeout)
            if response is not None:
                return response
            # litellm mends some errors in its own way, and gives nothing where that does not help.
            failed = trouble(self.config, ValueError("no reply"), wire, request.adjustable(self.config, arguments))
        except (litellm.openai.OpenAIError, ImportError, UnicodeError) as error:
            failed = trouble(self.config, error, wire, request.adjustable(self.config, arguments))
        manners = self._taught(failed, prompt) if failed.kind in LEARNS else None
        if manners is not None:
            # Not a fault that is waited for: asked again at once, in the way that it takes, from now on.
            self._learn(manners, failed)
            return self._try(prompt, schema, seconds, seed, tries)
        if self._pace:
            if not wire.unread:
                self._pace.end(tries.reserved, 0, None)
            if failed.status == 429 and failed.wait and failed.kind is Kind.AGAIN:
                self._pace.pause(failed.wait)
        tries.failed[str(failed.status or wire.status or "none")] += 1
        tries.unread += wire.unread
        tries.pages += wire.page
        raise self._final(failed, tries)

    def _keep_pace(self, prompt: Prompt, tries: Tries) -> None:
        if self._pace:
            tries.reserved, waited = self._pace.begin(request.estimated_tokens(prompt), self.notify)
            tries.waited += waited

    def _final(self, failed: CallFailed, tries: Tries) -> CallFailed:
        """The fault as it is, or the end of the call where trying again would only cost more."""
        if failed.kind in LEARNS:  # nothing is left to leave out
            failed.kind = Kind.CONTEXT if failed.kind is Kind.ROOM else Kind.STOP
        elif failed.kind is Kind.AGAIN and tries.unread >= MAX_UNREAD:
            failed.kind, failed.text = Kind.UNREADABLE, f"{tries.unread} replies broke off: {failed.text}"
        elif failed.kind is Kind.AGAIN and tries.pages >= MAX_PAGES and not self._answers:
            failed.kind, failed.text = Kind.STOP, f"the answer is a text for people, no reply of an API: {failed.text}"
        return failed

    def _taught(self, failed: CallFailed, prompt: Prompt) -> Manners | None:
        """How to ask after a refusal that says what is refused; None if that is nothing new."""
        if failed.kind is Kind.FORMAT:
            return self.manners.simpler()
        if failed.kind is Kind.PARAMETER:
            return self.manners.less(failed.about)
        room = int(failed.about)
        known = min(limit for limit in (room, self.config.context_tokens, self.manners.context) if limit is not None)
        fits = request.estimated_tokens(prompt) + request.LEAST_OUTPUT <= room == known != self.manners.context
        return dataclasses.replace(self.manners, context=room) if fits else None

    def _learn(self, manners: Manners, failed: CallFailed) -> None:
        self.manners = manners
        self.learnt(manners, f"{self.who}: {advice.learnt(failed, manners)}")

    def _look_at(self, reply: Reply, schema: Mapping[str, Any] | None) -> None:
        """A server that gave nothing where a parameter asked for JSON is asked in a simpler way the next time."""
        blank = reply.finish_reason == replies.EMPTY or (
            reply.finish_reason == replies.LENGTH and not reply.text.strip()
        )
        simpler = self.manners.simpler() if schema is not None and blank else None
        if simpler:
            self._learn(simpler, CallFailed(Kind.FORMAT, "its reply was empty", None))

    def _if_cut(self, reply: Reply, prompt: Prompt) -> Reply:
        """The reply, with what people should know if the server has cut the prompt."""
        cut = cut_prompt.said(prompt, reply, self.config)
        return dataclasses.replace(reply, said=f"{self.who}: {cut}") if cut else reply

    def _ended(self, failed: CallFailed, prompt: Prompt, tries: Tries) -> Reply:
        """A call without a reply: one that says why, if the run goes on; else raises `Unanswered`."""
        litellm, _ = load()
        nothing = replies.declined(ENDS.get(failed.kind, replies.UNANSWERED), failed.text, 0.0, tries.seconds)
        # What was declined is not paid, if a price is known at all; an endless answer was, and nobody knows what.
        if failed.kind is Kind.ENDLESS or (failed.kind in ENDS and not price_of(self.config, litellm.model_cost)):
            nothing = dataclasses.replace(nothing, usd=None)
        reply = self._counted(nothing, prompt, tries)
        if failed.kind in ENDS:
            return reply
        what, fix = advice.explained(self.config, self.who, failed, tries.seconds)
        raise Unanswered(what, fix, asked_model(self.config), reply) from None

    def _counted(self, reply: Reply, prompt: Prompt, tries: Tries) -> Reply:
        """The reply with what its failed tries took: those that broke off were paid, each at most at its worst case."""
        litellm, _ = load()
        tokens = dict(reply.tokens)
        each = {"input": tokens["input"] or request.estimated_tokens(prompt), "cached": 0, "reasoning": 0}
        lost = {**each, "output": request.output_limit(self.config, prompt, self.manners.context)}
        usd = reply.usd
        for _ in range(tries.unread):
            price = price_of(self.config, litellm.model_cost, lost["input"])
            usd = None if usd is None or price is None else usd + price.usd(lost)
            tokens = {name: tokens[name] + lost[name] for name in tokens}
        return dataclasses.replace(reply, tokens=tokens, usd=usd, retries=dict(tries.failed), unread=tries.unread)

    def model(self) -> str:
        """The model as litellm is told it. Raises `LLMError` for a name that no provider has."""
        self._model = self._model or model_for(self.config)
        return self._model

    @property
    def who(self) -> str:
        """For people: "llm=local (qwen2.5-coder:7b)"."""
        return f"llm={self.config.name} ({asked_model(self.config)})"


def has_key(config: LLMConfig) -> bool:
    """Whether the key that the configuration names is set, or none is named."""
    return not config.api_key_env or bool(os.environ.get(config.api_key_env, "").strip())
