"""The static part of the contract, checked without running anything: syntax, required names, imports, methods.

The dynamic part (shapes, losses, Trainer arguments) is the smoke run's: `template/smoke.py`, in the sandbox.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator

from improve.domain import COMPONENTS, Component, Failure, Pipeline, Reason
from improve.pipeline.asked_weights import loads_by_itself
from improve.pipeline.export import TEMPLATE
from improve.pipeline.names import defined, forgotten_imports, packages

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
    try:
        return next((fail(reason, message) for reason, message in _problems(component, tree)), None)
    except RecursionError:
        return fail(Reason.SYNTAX, "nested too deeply to be read.")


def _problems(component: Component, tree: ast.Module) -> Iterator[tuple[Reason, str]]:
    missing = [name for name in REQUIRED[component] if name not in defined(tree)]
    if missing:
        yield Reason.CONTRACT, f"must define {', '.join(missing)} at the top level."
    for name in packages(tree):
        if name in COMPONENTS:
            yield Reason.CONTRACT, f"may not import {name}: components do not depend on each other."
        elif not _installed(name):
            yield (
                Reason.IMPORT,
                f"{name!r} is not installed (use {', '.join(SUGGESTED)} or template, augment, layers).",
            )
    if component == "model" and (wrong := _wrong_in_model(tree)):
        yield Reason.CONTRACT, wrong
    if loads_by_itself(tree):
        yield (
            Reason.CONTRACT,
            "timm.create_model(…, pretrained=True) needs a network, and there is none: pretrained weights come by "
            "`from template import pretrained_backbone`; `pretrained_backbone(context, NAME)` gives features.",
        )
    forgotten = forgotten_imports(tree, TEMPLATE)
    if forgotten:
        lines = " and ".join(f"`{line}`" for line in forgotten.values())
        yield Reason.IMPORT, f"uses {', '.join(forgotten)} without importing it: add {lines} at the top."


def _wrong_in_model(tree: ast.Module) -> str:
    """What the class Model itself gets wrong; "" if nothing shows. Classes that it inherits from may do their part."""
    for model in tree.body:
        if not (isinstance(model, ast.ClassDef) and model.name == "Model"):
            continue
        names = defined(ast.Module(model.body, []))
        if "configure_optimizers" in names:
            return (
                "delete configure_optimizers from the class Model: the optimiser comes from the function "
                "configure_optimizers(model, context) in training.py."
            )
        if "forward" not in names and [_last(base) for base in model.bases] == ["ImageClassifier"]:
            return "the class Model must define forward(self, images), which returns logits."
    return ""


def _last(name: ast.expr) -> str:
    """The last part of a dotted name."""
    return name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else ""


def _installed(name: str) -> bool:
    if name in TEMPLATE_MODULES or name in sys.stdlib_module_names:
        return True
    try:
        # The sandbox runs on this interpreter, so what is found here is found there. Nothing is imported.
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
