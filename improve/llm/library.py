"""litellm, loaded late and kept from the network: it takes seconds to import, and a run may never need it."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from improve.llm.wire import Wire

# Without these litellm asks the network for prices and headers, when it is imported or first used.
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
    return parameter in (litellm.get_supported_openai_params(model) or ())


def provider_of(model: str, api_base: str | None) -> str | None:
    """The provider that litellm sees in a model's name; None if it sees none."""
    litellm, _ = load()
    try:
        return str(litellm.get_llm_provider(model, api_base=api_base)[1])
    except litellm.exceptions.BadRequestError:
        return None
