"""The order of imports is the order of a run: no file imports from one that comes later. The table is the README's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import paths

ROOT = paths.ROOT / "improve"
ORDER = (
    "pipeline.template", "__init__", "errors", "domain", "config", "record.journal", "signals", "record", "spending",
    "datasets", "expert", "llm", "pipeline", "agents", "sandbox", "judging.scoring", "execution", "judging",
    "strategies", "refinement", "display", "report", "tracking", "theory", "session", "api", "commands", "study",
    "run", "cli",
)  # fmt: skip
FILES = sorted(path for path in ROOT.rglob("*.py") if "template" not in path.relative_to(ROOT).parts)


def layer(module: str) -> str:
    """The entry of `ORDER` that a module of ours belongs to."""
    name = module.removeprefix("improve").lstrip(".") or "__init__"
    return max((entry for entry in ORDER if name == entry or name.startswith(entry + ".")), key=len, default=name)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from executed(child)


def imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in executed(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "improve"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_from_a_later_layer(path: Path) -> None:
    own = layer("improve." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert own in ORDER, f"{own} has no place in ORDER"
    for name in imports(path):
        other = layer(name)
        if other in ORDER:
            assert ORDER.index(other) <= ORDER.index(own), f"{path.name} ({own}) imports {name}, which comes later"


def test_what_runs_in_the_sandbox_imports_nothing_of_ours() -> None:
    for path in (ROOT / "pipeline" / "template").glob("*.py"):
        assert imports(path) == [], path.name
