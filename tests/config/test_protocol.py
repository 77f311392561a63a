"""`protocol=paper`: its rules as a whole or not at all, two splits with the same test images, and said everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.naming import run_name
from improve.config.schema import Config
from improve.datasets import Dataset, prepare
from improve.datasets.source import FREE, SELECTION, TEST, TRAIN, UNUSED
from improve.datasets.split import split, split_in_two
from improve.errors import ConfigError, DataError
from improve.pipeline.supply import Supply
from improve.record.history import PAPER_PROTOCOL
from improve.sandbox import choose
from improve.session.opening import Order, run_record
from tests.datasets.test_split import config as dataset_config
from tests.datasets.test_split import image_lists, items

SMALL = ("dataset=digits", "dataset.train=200", "dataset.selection=100", "dataset.test=150")


def composed(*overrides: str) -> Config:
    config = config_from(list(overrides))
    check(config)
    return config


def test_the_paper_protocol_fixes_its_rules_and_names_its_folder() -> None:
    paper = composed(*SMALL, "protocol=paper")
    assert (paper.acceptance.rule, paper.strategy.repairs) == ("paper", 0)
    assert "-paper-" in run_name(paper)


def test_the_default_is_honest() -> None:
    honest = composed(*SMALL)
    assert (honest.protocol, honest.acceptance.rule, honest.strategy.repairs) == ("honest", "racing", 2)
    assert "paper" not in run_name(honest)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("acceptance=paired", "acceptance.rule=paired"),
        ("acceptance.rule=paired", "acceptance.rule=paired"),
        ("strategy.repairs=2", "strategy.repairs=2"),
    ],
)
def test_a_mixture_of_protocols_is_refused_naming_both_keys(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"protocol=paper and {key} do not go together"):
        composed(*SMALL, "protocol=paper", override)


@pytest.mark.parametrize("iterations", [3, 20])
def test_a_zero_shot_run_is_the_same_whatever_a_study_sets(iterations: int) -> None:
    given = composed(*SMALL, "strategy=zero_shot", f"strategy.iterations={iterations}", "strategy.repairs=1")
    assert run_name(given) == run_name(composed(*SMALL, "strategy=zero_shot"))
    assert (given.strategy.iterations, given.strategy.repairs) == (0, 0)


def test_best_of_n_takes_the_best_unless_told_otherwise() -> None:
    assert composed("strategy=best_of_n").acceptance.rule == "paper"
    assert composed("strategy=best_of_n", "acceptance=paired").acceptance.rule == "paired"


@given(image_lists(), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_two_splits_test_on_the_same_images_and_train_on_the_rest(
    images: tuple[list[int], list[int]], seed: int
) -> None:
    honest = split(items(*images), dataset_config(split_seed=seed))
    paper = split_in_two(items(*images), dataset_config(split_seed=seed))
    assert set(paper.tolist()) <= {TRAIN, TEST, UNUSED}
    assert np.array_equal(paper == TEST, honest == TEST)
    assert np.array_equal(paper == TRAIN, (honest == TRAIN) | (honest == SELECTION))


@pytest.mark.parametrize(("given_part", "expected"), [(SELECTION, TEST), (TEST, TEST)])
def test_a_given_validation_set_is_the_test_set_where_there_is_none(given_part: int, expected: int) -> None:
    labels = [row % 3 for row in range(120)]
    parts = [given_part] * 30 + [FREE] * 90
    found = split_in_two(items(labels, list(range(120)), parts), dataset_config())
    assert set(found[:30].tolist()) == {expected}
    assert set(found[30:].tolist()) == {TRAIN}


@given(image_lists(), st.integers(0, 99), st.data())
@settings(deadline=None, max_examples=20)
def test_two_splits_divide_no_group(images: tuple[list[int], list[int]], seed: int, data: st.DataObject) -> None:
    count = len(images[0])
    pattern = data.draw(st.sampled_from(([FREE], [TRAIN, TEST], [TRAIN, SELECTION, TEST])))
    try:
        paper = split_in_two(items(*images, (pattern * count)[:count]), dataset_config(split_seed=seed))
    except DataError:
        reject()  # a class of copies alone
    groups = np.array(images[1])
    assert not set(groups[paper == TRAIN]) & set(groups[paper == TEST])


def test_a_group_in_train_and_validation_images_trains_as_a_whole() -> None:
    labels, groups = [row % 2 for row in range(90)], [row % 45 for row in range(60)] + list(range(100, 130))
    given = [TRAIN] * 45 + [SELECTION] * 15 + [TEST] * 30
    honest = split(items(labels, groups, given), dataset_config())
    assert (honest[:15] == UNUSED).all()
    paper = split_in_two(items(labels, groups, given), dataset_config())
    assert (paper[:60] == TRAIN).all()


@pytest.fixture(scope="module")
def both(cache: Path) -> dict[str, Dataset]:
    config = composed(*SMALL).dataset
    return {
        "honest": prepare(config, cache, lambda note: None),
        "paper": prepare(config, cache, lambda note: None, select_on="test"),
    }


def pictures(dataset: Dataset, split: str) -> list[tuple[bytes, int]]:
    images = np.load(dataset.folder / split / "images.npy")
    if split == "train":
        labels = np.load(dataset.train_folder / "labels.npy")
    else:
        labels = dataset.labels("test" if split == "test" else "selection")
    return [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]


def test_the_paper_selects_on_the_test_images_and_trains_on_all_others(both: dict[str, Dataset]) -> None:
    honest, paper = both["honest"], both["paper"]
    assert paper.counts == {"train": 300, "selection": 150, "test": 150}
    selected, tested = pictures(paper, "selection"), pictures(paper, "test")
    assert sorted(selected) == sorted(tested) == sorted(pictures(honest, "test"))
    assert selected != tested, "the two must not be in the same order"
    assert sorted(pictures(paper, "train")) == sorted(pictures(honest, "train") + pictures(honest, "selection"))
    assert "the selection images are the test images" in paper.card()


def test_the_record_of_a_run_says_so(both: dict[str, Dataset]) -> None:
    def notes(*overrides: str) -> str:
        config = composed(*SMALL, *overrides)
        order = Order.of(config)
        record = run_record(order, both["paper"], choose("auto"), Supply(config.executor, order.cache, {}, False), "")
        return "\n".join(record["notes"])

    assert PAPER_PROTOCOL == "protocol: paper (selected on the test set)"
    assert PAPER_PROTOCOL in notes("protocol=paper")
    assert PAPER_PROTOCOL not in notes()
    assert "the paper's sentence, then the contract" in notes("strategy=best_of_n")
    assert "draws its ideas at random" in notes("llm=offline_random")
