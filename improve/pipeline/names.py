"""The names in a module's source: which it has at its top level, imports, and uses without having them."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pyflakes.checker import Checker
from pyflakes.messages import UndefinedName

# What pipelines import most, as they call it, besides what the template's own modules define.
USUAL: Mapping[str, str] = {
    "torch": "import torch",
    "nn": "from torch import nn",
    "F": "import torch.nn.functional as F",
    "np": "import numpy as np",
    "timm": "import timm",
    "v2": "from torchvision.transforms import v2",
    "math": "import math",
    "torchvision": "import torchvision",
    "pl": "import pytorch_lightning as pl",
    **{module: f"import {module}" for module in ("template", "augment", "layers")},
}


def defined(tree: ast.Module) -> set[str]:
    """The names that a module has at its top level, or may have: in branches, too."""
    return set(_bound(tree.body))


def _bound(statements: Sequence[ast.stmt]) -> Iterator[str]:
    for node in statements:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            stored = (name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))
            yield from (name.id for name in stored if isinstance(name.ctx, ast.Store))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            for part in (node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])):
                yield from _bound(part)
            for handler in getattr(node, "handlers", []):
                yield from _bound(handler.body)


def packages(tree: ast.Module) -> Iterator[str]:
    """The top-level packages of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.module or "."


def forgotten_imports(tree: ast.Module, template: Path) -> dict[str, str]:
    """Names that a module uses without having them, and the line that would import each, in their order.

    Only names of which the line is known: those that the modules in the folder `template` define, and the `USUAL`.
    """
    lines = {**USUAL, **_offered(template)}
    messages = sorted(Checker(tree).messages, key=lambda message: (message.lineno, message.col))
    missing = [message.message_args[0] for message in messages if isinstance(message, UndefinedName)]
    return {name: lines[name] for name in missing if name in lines}


@functools.cache
def _offered(template: Path) -> dict[str, str]:
    """The import line of each public name that components may take from the template, by name."""
    offered: dict[str, str] = {}
    for module in ("template", "augment", "layers"):
        tree = ast.parse((template / f"{module}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                offered[node.name] = f"from {module} import {node.name}"
    return offered
