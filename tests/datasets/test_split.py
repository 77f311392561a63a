"""The split: no picture on two sides, every class in the same proportions, a function of content and seed alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.config.schema import DatasetConfig
from improve.datasets.source import FREE, SELECTION, TEST, TRAIN, UNUSED
from improve.datasets.split import LEAST, Items, split
from improve.errors import DataError


def config(**values: object) -> DatasetConfig:
    return DatasetConfig(name="test", source="test", **values)  # type: ignore[arg-type]


def items(labels: list[int], contents: list[int], parts: list[int] | None = None) -> Items:
    """Images whose content is a number: equal numbers are equal pictures."""
    return Items(
        class_names=tuple(f"class {number}" for number in range(max(labels) + 1)),
        labels=np.array(labels),
        groups=np.unique(contents, return_inverse=True)[1],
        digests=[hashlib.sha256(str(content).encode()).digest() for content in contents],
        given=np.array(parts if parts is not None else [FREE] * len(labels)),
    )


@st.composite
def image_lists(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Labels and contents: 2 to 5 classes of 12 to 60 images, up to a tenth of them copies of others."""
    sizes = draw(st.lists(st.integers(12, 60), min_size=2, max_size=5))
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    contents = list(range(len(labels)))
    copies = draw(st.lists(st.tuples(*[st.integers(0, len(labels) - 1)] * 2), max_size=len(labels) // 10))
    for copy, original in copies:
        contents[copy] = contents[original]
    return labels, contents


@given(image_lists(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_copies_stay_on_one_side(images: tuple[list[int], list[int]], seed: int) -> None:
    parts = split(items(*images), config(split_seed=seed))
    sides: dict[int, set[int]] = {}
    for content, part in zip(images[1], parts.tolist(), strict=True):
        sides.setdefault(content, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert set(parts.tolist()) == {TRAIN, SELECTION, TEST}


@given(image_lists(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_classes_are_shared_out_in_proportion(images: tuple[list[int], list[int]], seed: int) -> None:
    labels, contents = np.array(images[0]), images[1]
    parts = split(items(*images), config(split_seed=seed))
    largest = max(contents.count(content) for content in contents)
    for label, size in enumerate(np.bincount(labels)):
        for part, share, least in ((TEST, 0.2, LEAST[TEST]), (SELECTION, 0.8 * 0.15, LEAST[SELECTION])):
            count = int(((labels == label) & (parts == part)).sum())
            # Copies that stay together may overfill a split, never by more than they are.
            assert abs(count - max(share * size, least)) <= 1.5 + largest, (label, part)


@given(image_lists(), st.integers(0, 2**31), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_order_of_the_files_has_no_influence(images: tuple[list[int], list[int]], seed: int, random: object) -> None:
    order = list(range(len(images[0])))
    random.shuffle(order)  # type: ignore[attr-defined]
    parts = split(items(*images), config(split_seed=seed))
    shuffled = split(items(*[[values[i] for i in order] for values in images]), config(split_seed=seed))
    # Equal images with equal labels may change places; who goes where does not.
    of = [
        sorted(zip(contents, labels, part, strict=True))
        for labels, contents, part in (
            (images[0], images[1], parts.tolist()),
            ([images[0][i] for i in order], [images[1][i] for i in order], shuffled.tolist()),
        )
    ]
    assert of[0] == of[1]


@given(image_lists(), st.data())
@settings(deadline=None, max_examples=30)
def test_exact_counts_are_met_without_copies(images: tuple[list[int], list[int]], data: st.DataObject) -> None:
    labels = images[0]
    classes = max(labels) + 1
    # At most half of the smallest class in each, so that the numbers go together.
    test = data.draw(st.integers(classes, len(labels) // 4))
    selection = data.draw(st.integers(classes, len(labels) // 4))
    train = data.draw(st.integers(2 * classes, len(labels) // 3))
    parts = split(items(labels, list(range(len(labels)))), config(train=train, selection=selection, test=test))
    counts = [int((parts == part).sum()) for part in (TRAIN, SELECTION, TEST, UNUSED)]
    assert counts == [train, selection, test, len(labels) - train - selection - test]


def test_pairs_under_two_labels_still_give_exact_counts() -> None:
    """The default task has them: the first and the last rotation are the same picture."""
    labels = [0] * 100 + [1] * 100
    contents = [*range(100), *range(20), *range(200, 280)]
    parts = split(items(labels, contents), config(train=120, selection=30, test=50))
    assert [int((parts == part).sum()) for part in (TRAIN, SELECTION, TEST)] == [120, 30, 50]
    assert np.array_equal(parts[:20], parts[100:120])
    assert len(set(parts[:20].tolist())) == 3  # the pairs do not all go to one split


def test_another_seed_is_another_split() -> None:
    images = items([0] * 50 + [1] * 50, list(range(100)))
    first, second = (split(images, config(split_seed=seed)) for seed in (0, 1))
    assert (first != second).any()
    assert np.array_equal(first, split(images, config(split_seed=0)))


def test_split_does_not_change_between_versions() -> None:
    """A new release must not move images between splits: old results would no longer compare."""
    parts = split(items([0] * 12 + [1] * 12, list(range(24))), config(split_seed=7))
    assert "".join("tse"[part] for part in parts) == "eettttetstttttsettttstet"


def test_given_splits_are_kept_and_their_copies_leave_the_training_images() -> None:
    labels = [0, 1] * 30
    contents = list(range(60))
    parts = [TRAIN] * 40 + [SELECTION] * 10 + [TEST] * 10
    contents[0] = contents[50]  # a training image that is a test image
    contents[2] = contents[40]  # … that is a selection image
    contents[42] = contents[52]  # a selection image that is a test image
    result = split(items(labels, contents, parts), config())
    assert (result[50:] == TEST).all()
    assert result[[0, 2, 42]].tolist() == [UNUSED] * 3
    kept = np.setdiff1d(np.arange(50), [0, 2, 42])
    assert np.array_equal(result[kept], np.array(parts)[kept])


def test_given_test_set_leaves_selection_to_be_cut_from_train() -> None:
    result = split(items([0, 1] * 60, list(range(120)), [TRAIN] * 100 + [TEST] * 20), config())
    assert (result[100:] == TEST).all()
    assert [int((result[:100] == part).sum()) for part in (TRAIN, SELECTION)] == [85, 15]


def test_fewer_images_may_be_asked_for_than_are_given() -> None:
    parts = [TRAIN] * 60 + [SELECTION] * 30 + [TEST] * 30
    result = split(items([0, 1] * 60, list(range(120)), parts), config(train=20, selection=10, test=12))
    assert [int((result == part).sum()) for part in (TRAIN, SELECTION, TEST, UNUSED)] == [20, 10, 12, 78]
    assert all(np.bincount([0, 1] * 60)[label] for label in (0, 1))
    assert np.bincount(np.array([0, 1] * 60)[result == TEST]).tolist() == [6, 6]


@pytest.mark.parametrize(
    ("labels", "contents", "values", "message"),
    [
        ([0] * 20 + [1] * 3, None, {}, "Too few images.*class 1"),
        ([0] * 20 + [1] * 20, [*range(20), *[99] * 20], {}, "Too few .* images in 1 classes .*class 1"),
        ([0] * 20 + [1] * 20, None, {"test": 30, "train": 30}, "more than the 40 images"),
        ([0] * 20 + [1] * 20, None, {"selection": 1}, "dataset.selection would be 1 images"),
    ],
    ids=["small class", "class of copies", "too many asked for", "fewer than classes"],
)
def test_impossible_splits_are_refused(
    labels: list[int], contents: list[int] | None, values: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        split(items(labels, contents or list(range(len(labels)))), config(**values))
    assert caught.value.fix
