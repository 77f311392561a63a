"""The house: no room imports from one above it, no modules import each other in a circle, and the map shows all rooms.

The order is that of the contract `rooms` in pyproject.toml; README's map is made of it and of each room's first
sentence.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys

import grimp

from tests.support.paths import ROOT, TEMPLATE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = ROOT / "improve"
MOST_MODULES = 8  # beside the packages
MOST_PARAMETERS = 7


def rooms() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return list(contract["layers"])


def first_sentence(room: str) -> str:
    """What a room says of itself, without its full stop."""
    file = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    said = ast.get_docstring(ast.parse(file.read_text()))
    assert said, f"{file} says nothing of itself"
    return said.split("\n\n")[0].replace("\n", " ").removesuffix(".")


def readme_map() -> str:
    names = [f"{room}/" if (PACKAGE / room).is_dir() else f"{room}.py" for room in rooms()]
    return "".join(f"  {name:<14}{first_sentence(room)}\n" for name, room in zip(names, rooms(), strict=True))


def test_no_room_imports_from_one_above_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("improve", exclude_type_checking_imports=True)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imported).prepare()


def test_what_runs_in_the_sandbox_imports_nothing_of_ours() -> None:
    for path in TEMPLATE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "improve"], path.name


def test_all_rooms_have_their_place_and_few_modules_lie_loose() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert loose | packages == set(rooms())
    assert len(loose) + 1 <= MOST_MODULES


def test_no_function_takes_more_than_a_reader_can_keep_in_mind() -> None:
    functions = (
        (path, node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )
    for path, node in functions:
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in taken if argument.arg not in ("self", "cls")]
        assert len(names) <= MOST_PARAMETERS, f"{path}:{node.lineno} takes {', '.join(names)}"


def test_the_map_of_the_readme_is_the_house() -> None:
    assert readme_map() in (ROOT / "README.md").read_text(), f"README's map should be:\n{readme_map()}"
