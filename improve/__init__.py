"""IMPROVE: a team of language-model roles builds an image classifier and refines it one component at a time.

import improve
result = improve.refine(dataset="photos/", llm="gpt-4o")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from improve.api import Result as Result
    from improve.api import refine as refine

__version__ = "0.1.0"
__all__ = ["Result", "refine"]


def __getattr__(name: str) -> Any:
    """`refine` and `Result` when they are first used: `import improve` itself stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'improve' has no attribute {name!r}")
    return getattr(importlib.import_module("improve.api"), name)
