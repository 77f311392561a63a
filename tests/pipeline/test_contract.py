"""The static contract: what is refused before anything runs, and in which words."""

from __future__ import annotations

import pytest

from improve.domain import Pipeline, Reason
from improve.pipeline import contract
from tests.support import components

GOOD = Pipeline(components.DATA, components.model(), components.training())


WITHOUT_FORWARD = components.model().partition("    def forward")[0]
OWN_OPTIMIZER = """
    def configure_optimizers(self, context):
        return torch.optim.AdamW(self.parameters())
"""
FORGOTTEN = components.model().replace("nn.Flatten()", "conv_block(16), classifier(40)")


def test_good_components_pass() -> None:
    assert contract.check(GOOD) is None


@pytest.mark.parametrize(
    ("component", "source", "reason", "says"),
    [
        ("model", "class Model(:\n", Reason.SYNTAX, "line 1"),
        ("model", "x = '\0'\n", Reason.SYNTAX, "null"),
        ("model", "(" * 5000 + ")" * 5000, Reason.SYNTAX, ""),
        ("model", components.model() + "x = 1" + " + 1" * 5000, Reason.SYNTAX, "too deeply"),
        ("model", "class Net: ...\n", Reason.CONTRACT, "Model"),
        ("training", "batch_size = 3\n", Reason.CONTRACT, "trainer_kwargs, configure_optimizers"),
        ("data", components.DATA + "import albumentations\n", Reason.IMPORT, "albumentations"),
        ("data", components.DATA + "def f():\n    from no_such_thing.x import y\n", Reason.IMPORT, "no_such_thing"),
        ("data", components.DATA + "from model import Model\n", Reason.CONTRACT, "import model"),
        ("data", components.DATA + "#" * 70_000, Reason.CONTRACT, "longer"),
        # As a model of 1.5 billion parameters wrote them:
        ("model", WITHOUT_FORWARD, Reason.CONTRACT, "must define forward(self, images)"),
        ("model", WITHOUT_FORWARD.replace("(ImageC", "(template.ImageC"), Reason.CONTRACT, "must define forward"),
        ("model", components.model() + OWN_OPTIMIZER, Reason.CONTRACT, "delete configure_optimizers"),
        ("model", FORGOTTEN, Reason.IMPORT, "add `from layers import conv_block` and `from layers import classifier`"),
        (
            "model",
            components.model().replace("from template import ImageClassifier\n", "").replace("(Im", "(template.Im"),
            Reason.IMPORT,
            "add `import template` at the top",
        ),
        ("training", components.training().removeprefix("import torch\n"), Reason.IMPORT, "add `import torch` at"),
    ],
)
def test_what_is_wrong_is_named(component: str, source: str, reason: Reason, says: str) -> None:
    failure = contract.check(GOOD.with_component(component, source))  # type: ignore[arg-type]
    assert failure is not None
    assert (failure.reason, failure.component) == (reason, component)
    assert says in failure.message
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    "source",
    [
        components.model() + "def f():\n    global np\n    np = 1\n\ndef g():\n    return np\n",
        components.model() + "from layers import *\nx = [conv_block(8) for _ in 'ab']\n",
        components.model() + "def f(v2):\n    return [v2 for F in 'ab' if F]\n",
        components.model() + "try:\n    pass\nexcept ValueError as np:\n    print(np)\n",
        components.model() + "unknown_name = lambda: some_other_name\n",  # not ours to know
        WITHOUT_FORWARD.replace("class Model(ImageClassifier)", "class Net(ImageClassifier)")
        + "class Model(Net): ...\n",
        WITHOUT_FORWARD + "    forward = nn.Module.forward\n",
    ],
)
def test_names_that_are_there_are_not_asked_for(source: str) -> None:
    assert contract.check(GOOD.with_component("model", source)) is None


def test_checking_runs_nothing(tmp_path) -> None:
    mark = tmp_path / "ran"
    source = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n{components.DATA}"
    assert contract.check(GOOD.with_component("data", source)) is None
    assert not mark.exists()


@pytest.mark.parametrize(
    "defined",
    [
        "batch_size, rate = 64, 0.1",
        "import torch\nif torch.cuda.is_available():\n    batch_size = 512\nelse:\n    batch_size = 64",
        "try:\n    batch_size = int('64')\nexcept ValueError:\n    batch_size = 32",
    ],
)
def test_a_name_may_be_given_beside_another_and_in_branches(defined: str) -> None:
    rest = components.training().replace("batch_size = 64", defined, 1)
    assert defined in rest
    sources = {"data": components.DATA, "model": components.model(), "training": rest}
    assert contract.check(Pipeline(**sources)) is None
    inside = rest.replace(defined, "def other():\n    batch_size = 64")
    failure = contract.check(Pipeline(**{**sources, "training": inside}))
    assert failure is not None
    assert "must define batch_size" in failure.message
