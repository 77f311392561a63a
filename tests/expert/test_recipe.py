"""Recipes of the rule-based expert: their way through comments, brackets and odd values; what trainings cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.expert import cost, designs
from improve.expert.engineer import write
from improve.expert.reading import Log, Task
from improve.expert.recipe import (
    DataRecipe,
    ModelRecipe,
    Recipe,
    Recipes,
    TrainingRecipe,
    as_text,
    bracket,
    changed,
    comment,
    find,
    settings_in,
)

KINDS = (DataRecipe, ModelRecipe, TrainingRecipe)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any recipe within its ranges."""
    kind = draw(st.sampled_from(KINDS))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in kind.options:
            values[field.name] = draw(st.sampled_from(kind.options[field.name]))
        elif isinstance(field.default, bool):
            values[field.name] = draw(st.booleans())
        elif isinstance(field.default, str):
            values[field.name] = draw(st.sampled_from(["", "resnet18", "tf_efficientnet_lite0"]))
        else:
            low, high = kind.ranges[field.name]
            number = st.floats(low, high) if isinstance(field.default, float) else st.integers(int(low), int(high))
            values[field.name] = draw(
                st.lists(number, min_size=1, max_size=5) if isinstance(field.default, tuple) else number
            )
    return changed(kind(), values)


@given(recipes())
def test_a_source_carries_its_recipe(recipe: Recipe) -> None:
    assert find(type(recipe), comment(recipe)) == recipe
    assert find(type(recipe), write(recipe)) == recipe


@given(recipes())
def test_brackets_carry_settings_to_four_digits(recipe: Recipe) -> None:
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    names, found = settings_in(f"{bracket('some-idea', values)} Do this.")
    assert names == ("some-idea",)
    again = changed(type(recipe)(), found)
    for name, value in values.items():
        if isinstance(value, float):
            assert getattr(again, name) == pytest.approx(value, rel=1e-3, abs=1e-4)
        else:
            assert getattr(again, name) == value, as_text(value)


@given(st.sampled_from(KINDS), st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3), st.text())
def test_odd_settings_leave_a_valid_recipe(kind: type[Any], odd: dict[str, str], value: str) -> None:
    plain = kind()
    names = {field.name for field in dataclasses.fields(plain)}
    for name in names:
        result = changed(plain, {**odd, name: value})
        present, usual = getattr(result, name), getattr(plain, name)
        assert type(present) is type(usual)
        if isinstance(usual, (int, float)) and not isinstance(usual, bool):
            low, high = kind.ranges[name]
            assert low <= present <= high


def test_a_share_at_the_end_of_its_range_stays_a_share() -> None:
    frozen = changed(ModelRecipe(), {"frozen": 1.0})
    assert changed(frozen, {"frozen": 0.6}).frozen == 0.6


TASK = Task(channels=1, train_images=7200, num_classes=40, fit_seconds=22)


def pipeline(**training: Any) -> Recipes:
    return Recipes(DataRecipe(), designs.plain(32), TrainingRecipe(**training))


def test_costs_grow_with_work() -> None:
    usual = cost.epoch_seconds(pipeline(), TASK)
    assert cost.epoch_seconds(pipeline(batch_size=16), TASK) > usual
    wide = dataclasses.replace(pipeline(), model=ModelRecipe(stem=2, widths=(128, 256, 512)))
    assert cost.epoch_seconds(wide, TASK) > 5 * usual
    small = dataclasses.replace(pipeline(), data=DataRecipe(size=16))
    assert cost.epoch_seconds(small, TASK) < usual
    assert cost.epoch_seconds(pipeline(), dataclasses.replace(TASK, gpu=True)) < usual


def test_frozen_layers_cost_less() -> None:
    def seconds(**model: Any) -> float:
        network = ModelRecipe(family="pretrained", name="tf_efficientnet_lite0", **model)
        return cost.training_seconds(Recipes(DataRecipe(), network, TrainingRecipe(epochs=4)), TASK)

    assert seconds(frozen=1.0) < seconds(frozen=0.6) < seconds(thaw=0.4) < seconds()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
def test_planned_epochs_take_their_share(share: float, slower: float) -> None:
    epochs = cost.epochs_for(share, pipeline(), TASK, slower)
    taken = [cost.share_used(pipeline(epochs=n), TASK, slower) for n in (epochs, epochs + 1)]
    assert taken[0] <= share or epochs == 1
    assert taken[1] > share


def test_the_log_corrects_the_estimate() -> None:
    recipes = pipeline(epochs=4)
    expected = cost.share_used(recipes, TASK)
    log = Log(time_used=2 * expected, epochs=4, planned=4)
    assert cost.measured_slowness(log, TASK, recipes) == pytest.approx(2)
    assert cost.measured_slowness(Log(), TASK, recipes) == 1


def test_where_features_come_first_the_epochs_that_fit_say_nothing_of_the_speed() -> None:
    """A classifier on kept features has hundreds of epochs in a limit that the features alone fill to two thirds."""
    frozen = ModelRecipe(family="pretrained", name="tf_efficientnet_lite0", frozen=1.0, probe=True)
    recipes = Recipes(DataRecipe(), frozen, TrainingRecipe(epochs=3))
    expected = cost.share_used(recipes, TASK)
    log = Log(time_used=0.7, epochs=3, planned=3, fitting=257)
    assert cost.measured_slowness(log, TASK, recipes) == pytest.approx(0.7 / expected)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128, 224])
def test_residual_networks_fit_their_budget_and_grow_with_it(side: int) -> None:
    last = 0.0
    for seconds in (1e-4, 1e-3, 1e-2, 1e-1):
        found = cost.image_seconds(designs.residual(side, 3, seconds), side, 3)
        assert found <= seconds or found == cost.image_seconds(designs.residual(side, 3, 0), side, 3)
        assert found >= last
        last = found
