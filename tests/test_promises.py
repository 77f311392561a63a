"""What is promised is tested: attacks and faults of the design have tests, and docs/trust.md shows the outcomes."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys

import pytest

from tests.support.ordinary import ordinary_user
from tests.support.paths import ROOT
from tests.support.promised import DESIGNED, FAULTS, PAGE, START, TIERS, page, pipelines, programs


@functools.cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_")


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return name.partition("[")[0] in functions_of(file)


@pytest.mark.parametrize("attack", DESIGNED)
def test_each_attack_of_the_design_is_carried_out(attack: str) -> None:
    assert DESIGNED[attack]
    for name in DESIGNED[attack]:
        assert name in programs() or name in pipelines() or ("::" in name and exists(name)), name


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_design_is_played(fault: str) -> None:
    assert exists(FAULTS[fault][1])


def test_they_are_as_many_as_the_design_has() -> None:
    assert len(DESIGNED) >= 36
    assert len(FAULTS) >= 40


def test_nothing_gets_through_the_strongest_tier() -> None:
    assert {"through"}.isdisjoint(found["EXPECT"]["T3"] for found in programs().values())
    assert {"through"}.isdisjoint(found["EXPECT"]["improve"] for found in pipelines().values())
    for found in programs().values():
        assert set(found["EXPECT"]) == {"naive", *TIERS}


def test_the_page_shows_what_the_tests_expect() -> None:
    assert START in PAGE.read_text(encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.support.promised"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("file", ["tests/sandbox/test_attacks.py", "tests/execution/test_attacks.py"])
def test_the_outcomes_are_the_same_for_an_ordinary_user(file: str) -> None:
    """The whole file again, by another user: bubblewrap then needs user namespaces, and nobody has capabilities."""
    with ordinary_user() as user:
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={user.home}/tests"]
        done = subprocess.run(
            user.command(sys.executable, "-m", "pytest", *options, file), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr
