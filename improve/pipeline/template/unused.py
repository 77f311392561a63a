"""Keep libraries that Lightning and timm import for what is not done here out of a process: seconds of its start.

torchmetrics imports scipy.signal for a name that SciPy has since moved, and matplotlib, which looks for all fonts of
the machine and says so; timm imports W&B to log, without a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

UNUSED = (
    "scipy.signal", "wandb", "matplotlib", "matplotlib.axes", "matplotlib.colors", "matplotlib.pyplot",
    "matplotlib.pyplot.style",
)  # fmt: skip


class Nothing:
    """Made of anything; as a decorator it changes nothing."""

    def __init__(self, *given: object) -> None:
        pass

    def __call__(self, decorated: object) -> object:
        return decorated


class Unused(ModuleType):
    """Has every name, each a class of its own. Whoever asks whether the library is there is told that it is."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Nothing,), {})


@contextmanager
def left_out() -> Iterator[None]:
    """What is imported inside finds placeholders of these; an import afterwards finds the libraries themselves."""
    placeholders = {name: Unused(name) for name in UNUSED if name not in sys.modules}
    sys.modules.update(placeholders)
    for name, placeholder in placeholders.items():
        parent, _, own = name.rpartition(".")
        if parent in placeholders:
            setattr(placeholders[parent], own, placeholder)
    try:
        yield
    finally:
        for name in placeholders:
            del sys.modules[name]
