"""One language model through litellm, or the rule-based expert: a prompt in, a `Reply` out.

What may pass is tried again; what ends a run is an `LLMError`; what ends only this call (the provider declines, the
prompt is too long) is a `Reply` that says so, because it goes on record like any other.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from improve.config.invocation import command, typed_settings
from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.errors import LLMError
from improve.llm import reply as replies
from improve.llm import request
from improve.llm.faults import CallFailed, Kind, asked_wait, in_words, kind_of
from improve.llm.library import load, provider_of
from improve.llm.reply import Reply
from improve.llm.retry import policy
from improve.llm.secrets import redact
from improve.spending.prices import price_of

MAX_ERROR = 10_000  # characters of an error that are looked at
OFFLINE_PROVIDER = "offline"
# Faults that end this one call with a reply on record, and the reason that it gives.
ENDS = {Kind.REFUSED: replies.REFUSED, Kind.CONTEXT: replies.CONTEXT, Kind.ENDLESS: replies.LENGTH}


class Client:
    """Asks the configured model. `notify` is told in words when a call has to wait."""

    def __init__(self, config: LLMConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.notify: Callable[[str], None] = lambda text: None
        self._structured = config.structured  # how JSON is asked for: simpler after each refusal of the server
        self._model = ""  # as litellm is told it; known after the first look at the provider

    @property
    def offline(self) -> bool:
        """Whether the rule-based expert answers and no language model is asked."""
        return self.config.model.startswith(OFFLINE_PROVIDER + "/")

    def ask(self, prompt: Prompt, as_json: Mapping[str, Any] | None = None, sample: int = 0) -> Reply:
        """One answered call; `as_json` is the JSON schema of the answer, which the provider is held to where it can.

        A prompt that is asked several times gets another seed for each `sample`, where the provider takes one. The
        caller numbers the samples, so that a resumed run, which asks only for some of them, goes on with the right one.
        Raises `LLMError` for what retrying cannot mend (key, credit, address) and for what did not pass in time.
        """
        if self.offline:
            from improve.expert.expert import answer

            text = answer(prompt.system, prompt.user, self._seed(sample), self.config.model.endswith("/random"))
            return Reply(text, "stop", dict(replies.NOTHING), 0.0, 0.0)
        litellm, _ = load()
        started = time.monotonic()  # litellm's import is no part of the call
        try:
            response = self._answered(prompt, as_json, started, self._seed(sample))
        except CallFailed as failed:
            seconds = time.monotonic() - started
            if failed.kind not in ENDS:
                raise self._explained(failed, seconds) from None
            # What was declined is not paid, if a price is known at all; an endless answer was, and nobody knows what.
            paid = failed.kind is Kind.ENDLESS or not price_of(self.config, litellm.model_cost)
            return replies.declined(ENDS[failed.kind], failed.text, None if paid else 0.0, seconds)
        return replies.read(self.config, response, litellm.model_cost, time.monotonic() - started)

    def _seed(self, sample: int) -> int:
        """The run's own seed for sample 0, else a hash of both (below 2³¹): runs of a study have different samples."""
        if not sample:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{self.seed} sample {sample}".encode()).digest()[:4], "big") >> 1

    def _answered(self, prompt: Prompt, schema: Mapping[str, Any] | None, started: float, seed: int) -> Any:
        """litellm's response after as many tries as it needs. A retry may not last beyond the cap, either."""
        response: Any = None
        for attempt in policy(self.config, self.notify):
            with attempt:
                seconds = self.config.timeout_seconds
                if attempt.retry_state.attempt_number > 1:
                    seconds = min(seconds, max(1.0, started + self.config.retry_seconds - time.monotonic()))
                response = self._try(prompt, schema, seconds, seed)
        return response

    def _try(self, prompt: Prompt, schema: Mapping[str, Any] | None, seconds: float, seed: int) -> Any:
        """One try: litellm's response. Raises `CallFailed`."""
        litellm, wire = load()
        arguments = request.build(self.config, self.model(), prompt, schema, self._structured, seed)
        try:
            return litellm.completion(**arguments, timeout=wire.begin(seconds))
        except (litellm.openai.OpenAIError, ImportError) as error:
            problem = error
        failed = self._failed(problem, "response_format" in arguments)
        if failed.kind is Kind.FORMAT:
            # Not a fault that is waited for: asked again at once, in the simpler way, from now on.
            self._structured = request.simpler(self._structured) or "text"
            return self._try(prompt, schema, seconds, seed)
        raise failed

    def model(self) -> str:
        """The model as litellm is told it. Raises `LLMError` for a name that no provider has."""
        if not self._model:
            config = self.config
            known = provider_of(config.model, config.api_base)
            if known is None and config.api_base is None:
                raise LLMError(
                    f"llm={config.name}: litellm knows no provider for llm.model={config.model}.",
                    "write PROVIDER/MODEL, for instance openai/gpt-4o; a server of your own needs llm.api_base=URL",
                )
            # Behind an address of one's own, names are free: "Qwen/Qwen2.5-Coder" is no provider.
            self._model = config.model if known else f"openai/{config.model}"
        return self._model

    def _failed(self, error: Exception, structured: bool) -> CallFailed:
        litellm, wire = load()
        if wire.too_long:
            return CallFailed(Kind.ENDLESS, "the answer is longer than can be read.", wire.status)
        text = redact(str(getattr(error, "message", "") or error), self.config.api_key_env)[:MAX_ERROR]
        unreached = isinstance(error, (litellm.exceptions.Timeout, litellm.exceptions.APIConnectionError))
        if isinstance(error, ImportError):
            status: int | None = 400  # a provider whose package is not installed
        elif wire.status is not None:
            status = wire.status if wire.status >= 400 else None  # an answer that is no answer: HTML, cut off, stalled
        else:
            status = None if unreached else getattr(error, "status_code", None)
        # litellm's words leave out what the server's answer says in codes ("insufficient_quota").
        everything = text + wire.begun.decode(errors="replace")
        kind = kind_of(status, everything, structured)
        return CallFailed(kind, in_words(text), status, asked_wait(wire.headers, everything))

    def _explained(self, failed: CallFailed, seconds: float) -> LLMError:
        config = self.config
        who = f"llm={config.name} ({config.model})"
        status = f"{failed.status}: " if failed.status else ""
        resume = "the same command resumes the run where it stopped"
        if failed.kind is Kind.AGAIN:
            asks = f", and asks to wait {failed.wait:.0f} s" if failed.wait else ""
            return LLMError(
                f"{who} gave no reply in {seconds:.0f} s{asks}: {status}{failed.text}",
                f"{resume}; llm.retry_seconds={config.retry_seconds:g} is how long it may try",
            )
        fixes = {
            401: f"check the key in the variable {config.api_key_env or 'of the provider'}",
            402: "add credit to the account, or choose another model",
            403: f"check what the key in the variable {config.api_key_env or 'of the provider'} may use",
            404: "check llm.model and llm.api_base",
            429: "raise the account's quota, or choose another model",
        }
        fix = fixes.get(
            failed.status or 0, f"see {command('doctor', *typed_settings('llm'))}, and {command('keys', 'llm')}"
        )
        return LLMError(f"{who} refused the call: {status}{failed.text}", f"{fix}; {resume}")


def has_key(config: LLMConfig) -> bool:
    """Whether the key that the configuration names is set, or none is named."""
    return not config.api_key_env or bool(os.environ.get(config.api_key_env, "").strip())
