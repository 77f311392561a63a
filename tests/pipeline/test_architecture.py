"""`dataset.constraints.model`: names as people write them, and a smoke run that holds the engineer to it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from improve.errors import ConfigError
from improve.pipeline.architecture import required_architecture, spellings
from tests.support import template as support
from tests.support.template import components, context

BUILT = """
import timm
class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.network = timm.create_model("{name}", in_chans=context.channels, num_classes={outputs})
        self.head = nn.Linear(self.network.num_features, context.num_classes)
    def forward(self, images):
        return self.network(images)
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ViT-B/16", "vit_base_patch16_224"),
        ("vit_l_32", "vit_large_patch32_224"),
        ("ResNet-50", "resnet50"),
        ("EfficientNet-B0", "efficientnet_b0"),
        ("convnext_tiny", "convnext_tiny"),
    ],
)
def test_usual_spellings_are_understood(text: str, name: str) -> None:
    assert name in spellings(text)


@pytest.mark.slow
def test_timm_is_asked_for_the_name() -> None:
    assert required_architecture(None) == ""
    assert required_architecture("ViT-B/16") == "vit_base_patch16_224"
    with pytest.raises(ConfigError, match="ResNet-5O is no architecture") as caught:
        required_architecture("ResNet-5O")
    assert "resnet50" in caught.value.fix


@pytest.mark.parametrize("required", ["test_vit", "test_resnet"])
@pytest.mark.parametrize("outputs", [0, 10], ids=["features", "with a classifier"])
def test_the_demanded_architecture_passes(lib: SimpleNamespace, required: str, outputs: int) -> None:
    """Also with one channel, which the reference does not have, and with more layers around it."""
    parts = components(model=BUILT.format(name=required, outputs=outputs))
    lib.smoke.check_architecture(parts, context(required_model=required))


@pytest.mark.parametrize(
    ("built", "required"), [("test_vit2", "test_vit"), ("test_resnet", "test_vit"), ("test_vit", "test_resnet")]
)
def test_another_architecture_is_sent_back(lib: SimpleNamespace, built: str, required: str) -> None:
    parts = components(model=BUILT.format(name=built, outputs=0))
    with pytest.raises(lib.template.ContractError, match=f"model.py: the task demands .*{required}") as caught:
        lib.smoke.check_architecture(parts, context(required_model=required))
    assert lib.worker.classify(caught.value) == "contract"


def test_without_a_constraint_anything_passes(lib: SimpleNamespace) -> None:
    lib.smoke.check_architecture(components(), context())
