"""The static part of the contract, checked without running anything: syntax, required names, imports.

The dynamic part (shapes, losses, Trainer arguments) is the smoke run's: `template/smoke.py`, in the sandbox.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator

from improve.domain import COMPONENTS, Component, Failure, Pipeline, Reason

MAX_SOURCE = 24_000  # characters, about 7,000 tokens: every engineer reads all three in every prompt
REQUIRED: dict[Component, tuple[str, ...]] = {
    "data": ("DataModule",),
    "model": ("Model",),
    "training": ("batch_size", "trainer_kwargs", "configure_optimizers"),
}
TEMPLATE_MODULES = ("template", "augment", "layers", "context")
SUGGESTED = ("torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics", "numpy")


def check(pipeline: Pipeline) -> Failure | None:
    """The first thing that is wrong with the sources, or None."""
    for component in COMPONENTS:
        failure = check_component(component, pipeline.source(component))
        if failure:
            return failure
    return None


def check_component(component: Component, source: str) -> Failure | None:
    """What is wrong with one source, or None."""

    def fail(reason: Reason, message: str, detail: str = "") -> Failure:
        return Failure(reason, f"{component}.py: {message}", component, detail)

    if len(source) > MAX_SOURCE:
        return fail(Reason.CONTRACT, f"longer than {MAX_SOURCE} characters.")
    try:
        tree = ast.parse(source, filename=f"{component}.py")
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL character
        line = getattr(error, "lineno", None)
        text = (getattr(error, "text", None) or "").rstrip()
        return fail(Reason.SYNTAX, f"{getattr(error, 'msg', error)} (line {line}).", text)
    except (RecursionError, MemoryError):
        return fail(Reason.SYNTAX, "nested too deeply to be parsed.")
    missing = [name for name in REQUIRED[component] if name not in defined(tree)]
    if missing:
        return fail(Reason.CONTRACT, f"must define {', '.join(missing)} at the top level.")
    for name in _imported(tree):
        if name in COMPONENTS:
            return fail(Reason.CONTRACT, f"may not import {name}: components do not depend on each other.")
        if not _installed(name):
            return fail(
                Reason.IMPORT, f"{name!r} is not installed (use {', '.join(SUGGESTED)} or template, augment, layers)."
            )
    return None


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


def _imported(tree: ast.Module) -> Iterator[str]:
    """The top-level packages of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.module or "."


def _installed(name: str) -> bool:
    if name in TEMPLATE_MODULES or name in sys.stdlib_module_names:
        return True
    try:
        # The sandbox runs on this interpreter, so what is found here is found there. Nothing is imported.
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
