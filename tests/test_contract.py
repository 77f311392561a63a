"""The static contract: what is refused before anything runs, and in which words."""

from __future__ import annotations

import pytest

from improve.domain import Pipeline, Reason
from improve.pipeline import contract
from tests.support import components

GOOD = Pipeline(components.DATA, components.model(), components.training())


def test_good_components_pass() -> None:
    assert contract.check(GOOD) is None


@pytest.mark.parametrize(
    ("component", "source", "reason", "says"),
    [
        ("model", "class Model(:\n", Reason.SYNTAX, "line 1"),
        ("model", "x = '\0'\n", Reason.SYNTAX, "null"),
        ("model", "(" * 5000 + ")" * 5000, Reason.SYNTAX, ""),
        ("model", "class Net: ...\n", Reason.CONTRACT, "Model"),
        ("training", "batch_size = 3\n", Reason.CONTRACT, "trainer_kwargs, configure_optimizers"),
        ("data", components.DATA + "import albumentations\n", Reason.IMPORT, "albumentations"),
        ("data", components.DATA + "def f():\n    from no_such_thing.x import y\n", Reason.IMPORT, "no_such_thing"),
        ("data", components.DATA + "from model import Model\n", Reason.CONTRACT, "import model"),
        ("data", components.DATA + "#" * 70_000, Reason.CONTRACT, "longer"),
    ],
)
def test_what_is_wrong_is_named(component: str, source: str, reason: Reason, says: str) -> None:
    failure = contract.check(GOOD.with_component(component, source))  # type: ignore[arg-type]
    assert failure is not None
    assert (failure.reason, failure.component) == (reason, component)
    assert says in failure.message
    assert "\n" not in failure.message


def test_checking_runs_nothing(tmp_path) -> None:
    mark = tmp_path / "ran"
    source = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{components.DATA}"
    assert contract.check(GOOD.with_component("data", source)) is None
    assert not mark.exists()
