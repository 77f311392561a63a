"""litellm, loaded late and kept from the network: it takes seconds to import, and a run may never need it."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig
from improve.errors import LLMError

if TYPE_CHECKING:
    from improve.llm.wire import Wire

# Without these litellm asks the network for prices and headers, when it is imported or first used.
# litellm's prefix for a server of one's own: what follows is sent as it is, and looked up nowhere.
FREE = "custom_openai/"
LOCAL = ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "LITELLM_LOCAL_BLOG_POSTS")


@functools.cache
def load() -> tuple[Any, Wire]:
    """litellm (as Any: its module attributes are not typed) and the wire that all its requests go over."""
    for name in LOCAL:
        os.environ.setdefault(name, "True")
    litellm: Any = importlib.import_module("litellm")
    from improve.llm.wire import Wire

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # Its log could quote requests; what matters reaches people as an error of ours.
    for name in ("LiteLLM", "openai", "httpx"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    wire = Wire()
    wire.attach(litellm)
    return litellm, wire


def takes(model: str, parameter: str) -> bool:
    """Whether litellm can pass a parameter on to the model's provider; what it cannot, it would refuse to send."""
    litellm, _ = load()
    return model.startswith(FREE) or parameter in (litellm.get_supported_openai_params(model) or ())


def provider_of(model: str) -> str | None:
    """The provider that litellm sees in a model's name; None if it sees none."""
    litellm, _ = load()
    try:
        return str(litellm.get_llm_provider(model)[1])
    except litellm.exceptions.BadRequestError:
        return None


def model_for(config: LLMConfig) -> str:
    """The model as litellm is told it. Raises `LLMError` for a name that no provider has."""
    if config.api_base and config.provider in (None, "openai"):
        return FREE + config.model
    if config.api_base:
        return f"{config.provider}/{config.model.removeprefix(f'{config.provider}/')}"
    name = asked_model(config)
    if provider_of(name) is None:
        raise LLMError(
            f"llm={config.name}: litellm knows no provider for llm.model={config.model}.",
            "write PROVIDER/MODEL, for instance openai/gpt-4o; a server of your own needs llm.api_base=URL",
        )
    return name
