"""The expert as a litellm custom provider: every role talks to it exactly as to a language model."""

from __future__ import annotations

from typing import Any

from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import Choices, Message, ModelResponse, Usage

from improve.llm.offline.expert import answer

RANDOM = "random"  # the model of `llm=offline_random`


class OfflineProvider(CustomLLM):
    """Answers from the prompt and the seed alone. It uses no tokens, because no language model is asked."""

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        messages = kwargs.get("messages") or args[1]
        system, user = (message["content"] for message in messages)
        seed = int((kwargs.get("optional_params") or {}).get("seed") or 0)
        reply = answer(system, user, seed, at_random=str(kwargs.get("model")).split("/")[-1] == RANDOM)
        choice = Choices(index=0, finish_reason="stop", message=Message(role="assistant", content=reply))
        usage = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        return ModelResponse(model=f"offline/{kwargs.get('model')}", choices=[choice], usage=usage)
