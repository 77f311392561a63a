"""One language model through litellm: retries, timeouts, and errors in words for people.

litellm is imported at the first call, not before: it takes seconds, and a run whose answers are on record needs none.
"""

from __future__ import annotations

import importlib
import os
import time
from dataclasses import dataclass
from typing import Any

import tenacity

from improve.config import LLMConfig
from improve.errors import LLMError
from improve.llm.price import price_of
from improve.prompts import Prompt

OFFLINE_PROVIDER = "offline"


@dataclass(frozen=True)
class Reply:
    """An answer. `usd` is None where the model's price is not known; `seconds` is wall time with retries."""

    text: str
    finish_reason: str
    tokens: dict[str, int]  # input, cached, reasoning, output
    usd: float | None
    seconds: float


class Client:
    """Asks the configured model. Raises `LLMError` for what retrying cannot mend (key, quota, address, request)."""

    def __init__(self, config: LLMConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self._litellm: Any = None

    @property
    def offline(self) -> bool:
        """Whether the rule-based expert answers and no language model is asked."""
        return self.config.model.startswith(OFFLINE_PROVIDER + "/")

    def check_key(self) -> None:
        """Refuse a run whose key is missing, before anything is spent."""
        name = self.config.api_key_env
        if name and not os.environ.get(name):
            raise LLMError(
                f"llm={self.config.name} needs a key in the environment variable {name}, which is not set.",
                f"export {name}=…, or run without a language model: llm=offline",
            )

    def ask(self, prompt: Prompt, as_json: bool = False) -> Reply:
        """One answered call; `as_json` asks the provider for a JSON object where it can."""
        litellm = self._load()
        started = time.monotonic()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(self._retryable(litellm)),
            wait=_wait,
            stop=tenacity.stop_after_delay(self.config.retry_seconds),
            reraise=True,
        )
        try:
            response = retrying(litellm.completion, **self._request(prompt, as_json))
        except litellm.exceptions.APIError as error:
            raise self._explained(error) from None
        except litellm.openai.OpenAIError as error:
            raise self._explained(error) from None
        return self._reply(litellm, response, time.monotonic() - started)

    def _load(self) -> Any:
        """litellm, as Any: its module attributes are not typed."""
        if self._litellm is None:
            # Without this litellm asks the network for prices while it is imported.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            litellm: Any = importlib.import_module("litellm")
            litellm.suppress_debug_info = True
            litellm.drop_params = True
            if self.offline:
                from improve.llm.offline.provider import OfflineProvider

                litellm.custom_provider_map = [{"provider": OFFLINE_PROVIDER, "custom_handler": OfflineProvider()}]
            self._litellm = litellm
        return self._litellm

    def _request(self, prompt: Prompt, as_json: bool) -> dict[str, Any]:
        config = self.config
        request: dict[str, Any] = {
            "model": config.model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "max_tokens": config.max_output_tokens,
            "timeout": config.timeout_seconds,
            # Retries are ours (tenacity), so that they are counted and capped in one place.
            "max_retries": 0,
            "num_retries": 0,
            "seed": self.seed,
        }
        if config.temperature is not None:
            request["temperature"] = config.temperature
        if config.api_base:
            request["api_base"] = config.api_base
        if config.api_key_env:
            request["api_key"] = os.environ[config.api_key_env]
        elif config.api_base:
            request["api_key"] = "none"  # litellm wants one, local servers do not
        if as_json:
            request["response_format"] = {"type": "json_object"}
        return request

    @staticmethod
    def _retryable(litellm: Any) -> tuple[type[BaseException], ...]:
        names = ("RateLimitError", "InternalServerError", "ServiceUnavailableError", "APIConnectionError", "Timeout")
        return tuple(getattr(litellm.exceptions, name) for name in names)

    def _explained(self, error: Exception) -> LLMError:
        # The provider's text may quote the request; the key is never in it, but cut what could be long.
        text = " ".join(str(error).split())[:300]
        key = os.environ.get(self.config.api_key_env or "")
        if key:
            text = text.replace(key, "[key]")
        return LLMError(
            f"llm={self.config.name} ({self.config.model}) did not answer: {text}",
            "see `improve doctor`; the same command resumes the run where it stopped",
        )

    def _reply(self, litellm: Any, response: Any, seconds: float) -> Reply:
        choices = response.choices
        text = (choices[0].message.content or "") if choices else ""
        usage = getattr(response, "usage", None)
        tokens = {
            "input": getattr(usage, "prompt_tokens", 0) or 0,
            "cached": _detail(usage, "prompt_tokens_details", "cached_tokens"),
            "reasoning": _detail(usage, "completion_tokens_details", "reasoning_tokens"),
            "output": getattr(usage, "completion_tokens", 0) or 0,
        }
        reason = (choices[0].finish_reason or "") if choices else "empty"
        return Reply(text, reason, tokens, self._usd(litellm, tokens), round(seconds, 3))

    def _usd(self, litellm: Any, tokens: dict[str, int]) -> float | None:
        if self.offline:
            return 0.0
        price = price_of(self.config, litellm.model_cost, tokens["input"])
        # No call is without tokens: a server that counts none leaves the cost unknown.
        return price.usd(tokens) if price and tokens["input"] + tokens["output"] else None


def _detail(usage: Any, group: str, name: str) -> int:
    return getattr(getattr(usage, group, None), name, 0) or 0


def _wait(state: tenacity.RetryCallState) -> float:
    """The server's Retry-After if it gave one, else exponential with jitter; seconds."""
    error = state.outcome.exception() if state.outcome else None
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = str(headers.get("retry-after", ""))
    if asked.isdigit():
        return float(asked)
    return float(tenacity.wait_exponential_jitter(initial=1, max=60)(state))
