"""The names in a module's source: which it has at its top level, imports, and uses without having them."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

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

NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def defined(tree: ast.Module) -> set[str]:
    """The names that a module has at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            names.add(node.target.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name) for alias in node.names)
    return names


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
    """Names that are used, that nothing in the module binds, and the line that would import each, in their order.

    Only names of which the line is known: those that the modules in the folder `template` define, and the `USUAL`. A
    name that is bound anywhere counts as bound everywhere, so what is found is never there when the line is reached.
    """
    bound: set[str] = set(dir(builtins))
    used: dict[str, None] = {}
    unread = set(_annotations(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node not in unread:
                used[node.id] = None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(alias.name == "*" for alias in node.names):
                return {}
            bound.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        else:
            bound.update(_binds(node))
    lines = {**USUAL, **_offered(template)}
    return {name: lines[name] for name in used if name not in bound and name in lines}


def _annotations(tree: ast.Module) -> Iterator[ast.AST]:
    """All that stands in annotations, where nothing reads them."""
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
        for node in ast.walk(tree):
            for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                if isinstance(part, ast.AST):
                    yield from ast.walk(part)


def _binds(node: ast.AST) -> Iterator[str]:
    """The names that a node other than an import binds, in whichever scope."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, NAMED):
        yield node.name or ""
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


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
