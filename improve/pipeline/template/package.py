"""The trained classifier from Python:

from best import load
classifier = load()
classifier(["photo.jpg"], top=3)  # the three likeliest classes of each image, with their probabilities

`best` is the name of this folder, and what holds it is on Python's path.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
_modules: dict[str, ModuleType] = {}


@contextmanager
def _own_names() -> Iterator[None]:
    """The files of this folder import each other by bare names (data, model, …), which the program around them may use
    for modules of its own: inside, the names mean these files, and outside they mean what they did."""
    names = {file.stem for file in HERE.glob("*.py")} - {"__init__"}
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.modules.update(_modules)
    sys.path.insert(0, str(HERE))
    try:
        yield
    finally:
        sys.path.remove(str(HERE))
        _modules.update({name: sys.modules.pop(name) for name in names if name in sys.modules})
        sys.modules.update(others)


def _inside(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def called(*arguments: Any, **named: Any) -> Any:
        with _own_names():
            return method(*arguments, **named)

    return called


def load(weights: str | Path | None = None) -> Any:
    """The `Classifier` of this folder (see classifier.py). `weights`: a folder that train.py has filled instead."""
    with _own_names():
        kind: Any = importlib.import_module("classifier").Classifier
        methods = {name: _inside(getattr(kind, name)) for name in ("__call__", "probabilities", "predict")}
        return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, **methods})(HERE, weights)
