"""Keep libraries that Lightning and timm import for what is not done here out of a process: seconds of its start.

torchmetrics imports scipy.signal for a name that SciPy has since moved; timm imports W&B to log, without a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = ("scipy.signal", "wandb")


class Unused(ModuleType):
    """Has every name, each an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextmanager
def left_out() -> Iterator[None]:
    """What is imported inside finds placeholders of these; an import afterwards finds the libraries themselves."""
    placeholders = {name: Unused(name) for name in UNUSED if name not in sys.modules}
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name in placeholders:
            del sys.modules[name]
