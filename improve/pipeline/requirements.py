"""What an exported pipeline needs to be installed, at the versions of this machine."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Mapping

from improve.domain import COMPONENTS, Pipeline

BY_TEMPLATE = ("numpy", "pillow", "safetensors")  # beside the libraries that components are offered


def requirements(pipeline: Pipeline, versions: Mapping[str, str]) -> str:
    """The text of requirements.txt. `versions`: of the libraries that components are offered."""
    needed = {name.replace("_", "-"): version for name, version in versions.items()}
    distributions = importlib.metadata.packages_distributions()
    imported = {module for name in COMPONENTS for module in imported_modules(pipeline.source(name))}
    found = {distribution for module in imported for distribution in distributions.get(module, [])}
    for name in (*BY_TEMPLATE, *sorted(found)):
        needed.setdefault(name, importlib.metadata.version(name))
    # Without "+cu128" and the like, which the usual index does not know; such a version fulfils the plain one.
    return "".join(f"{name}=={version.split('+')[0]}\n" for name, version in sorted(needed.items()))


def imported_modules(source: str) -> set[str]:
    """The first parts of the names that a source imports, without the standard library; none if it is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"template", *COMPONENTS}
