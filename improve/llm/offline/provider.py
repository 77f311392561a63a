"""The expert as a litellm custom provider: every role talks to it exactly as to a language model."""

from __future__ import annotations

from typing import Any

from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import Choices, Message, ModelResponse, Usage

from improve.llm.offline.expert import answer


class OfflineProvider(CustomLLM):
    """Answers from the prompt alone. It uses no tokens, because no language model is asked."""

    def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
        messages = kwargs.get("messages") or args[1]
        system, user = (message["content"] for message in messages)
        choice = Choices(index=0, finish_reason="stop", message=Message(role="assistant", content=answer(system, user)))
        usage = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        return ModelResponse(model="offline/expert", choices=[choice], usage=usage)
