"""Which pretrained networks a model component names, read from its source."""

from __future__ import annotations

import pytest

from improve.domain import Reason
from improve.pipeline.asked_weights import asked_weights
from improve.pipeline.contract import check_component
from improve.pipeline.fetch_weights import covered
from tests.support import components

FORMS = {
    "pretrained_backbone(context, 'resnet18')": ["resnet18"],
    "template.pretrained_backbone(context, name='resnet18', drop_path_rate=0.1)": ["resnet18"],
    "NAME = 'a'\nclass Model:\n    def __init__(self, c):\n        pretrained_backbone(c, NAME)": ["a"],
    "class Model:\n    NAME: str = 'a'\n    def __init__(self, c):\n        pretrained_backbone(c, self.NAME)": ["a"],
    "pretrained_backbone(c, 'a'); pretrained_backbone(c, 'b'); pretrained_backbone(c, 'a')": ["a", "b"],
    "NAME = 'a'\nNAME = 'b'\npretrained_backbone(c, NAME)": [],  # which one it is shows when it runs
    "pretrained_backbone(c, f'{size}'); pretrained_backbone(c, 3); pretrained_backbone(c)": [],
    "pretrained_backbone(": [],
    "# pretrained_backbone(context, 'resnet18')": [],
}


@pytest.mark.parametrize(("source", "names"), FORMS.items())
def test_names_are_read_where_they_stand(source: str, names: list[str]) -> None:
    assert asked_weights(source) == names


def test_a_name_without_a_tag_is_covered_by_any_tag() -> None:
    assert covered("resnet18", {"resnet18.a1_in1k"})
    assert not covered("resnet18", {"resnet18d.ra2_in1k"})
    assert not covered("resnet18.a1_in1k", {"resnet18.tv_in1k", "resnet18"})


def test_a_model_that_would_load_weights_by_itself_is_told_how() -> None:
    source = "import timm\n" + components.model().replace(
        "nn.Flatten()", "timm.create_model('resnet18', pretrained=True)"
    )
    failure = check_component("model", source)
    assert failure is not None
    assert failure.reason is Reason.CONTRACT
    assert "pretrained_backbone(context, NAME)" in failure.message
    assert check_component("model", source.replace("pretrained=True", "pretrained=False")) is None
