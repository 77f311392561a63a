"""Groups and subsets: what belongs together is never divided, and a subset is a small image of the whole."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.config.checks import check
from improve.config.schema import Config, DatasetConfig
from improve.datasets.source import FREE, SELECTION, TEST, TRAIN, UNUSED
from improve.datasets.split import Items, split, together
from improve.errors import ConfigError, DataError


def config(**values: object) -> DatasetConfig:
    return DatasetConfig(name="test", source="test", **values)  # type: ignore[arg-type]


def items(labels: np.ndarray, groups: np.ndarray, given: np.ndarray | None = None) -> Items:
    return Items(
        class_names=tuple(f"class {number}" for number in range(int(labels.max()) + 1)),
        labels=labels,
        groups=groups,
        digests=[hashlib.sha256(str(row).encode()).digest() for row in range(len(labels))],
        given=np.full(len(labels), FREE) if given is None else given,
    )


@st.composite
def linked(draw: st.DrawFn) -> tuple[int, list[int], list[str], list[tuple[int, int]]]:
    """So many images; their pictures, the names of their groups, and near pairs."""
    count = draw(st.integers(1, 40))
    pictures = draw(st.lists(st.integers(0, 40), min_size=count, max_size=count))
    named = draw(st.lists(st.sampled_from(["", "", "a", "b", "c"]), min_size=count, max_size=count))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=10))
    return count, pictures, named, pairs


@given(linked())
@settings(deadline=None, max_examples=60)
def test_together_joins_what_is_linked_and_nothing_else(case: tuple[int, list[int], list[str], list]) -> None:
    count, pictures, named, pairs = case
    found = together(np.array(pictures), named, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    # The same by the slowest way there is.
    reached = np.eye(count, dtype=bool)
    for a in range(count):
        for b in range(count):
            same = pictures[a] == pictures[b] or (named[a] == named[b] != "") or (a, b) in pairs or (b, a) in pairs
            reached[a, b] |= same
    for _ in range(count):
        reached |= (reached.astype(int) @ reached.astype(int)) > 0
    assert np.array_equal(found[:, None] == found[None, :], reached)


@given(st.integers(0, 2**31), st.integers(8, 14), st.integers(5, 40), st.integers(2, 4))
@settings(deadline=None, max_examples=30)
def test_groups_never_straddle(seed: int, groups: int, size: int, classes: int) -> None:
    """Each group holds images of all classes, as a patient with several findings does."""
    group_of = np.repeat(np.arange(groups), size * classes)
    labels = np.tile(np.arange(classes), groups * size)
    parts = split(items(labels, group_of), config(split_seed=seed))
    for group in range(groups):
        assert len(set(parts[group_of == group].tolist())) == 1
    assert set(parts.tolist()) == {TRAIN, SELECTION, TEST}


def test_few_large_groups_still_fill_every_split() -> None:
    """Five writers of a hundred images: none fits into the 60 images of selection, and one must go there."""
    labels = np.tile([0, 1], 250)
    parts = split(items(labels, np.repeat(np.arange(5), 100)), config())
    assert sorted(np.bincount(parts, minlength=3).tolist()) == [100, 100, 300]


def test_groups_that_straddle_given_splits_leave_the_training_images() -> None:
    labels, groups = np.tile([0, 1], 60), np.repeat(np.arange(30), 4)
    given = np.array([TRAIN] * 90 + [TEST] * 30)  # the group of rows 88 to 91 is on both sides
    parts = split(items(labels, groups, given), config())
    assert parts[88:90].tolist() == [UNUSED] * 2
    assert (parts[90:] == TEST).all()


@given(st.integers(0, 2**31), st.lists(st.integers(20, 200), min_size=2, max_size=5), st.floats(0.3, 1.0))
@settings(deadline=None, max_examples=30)
def test_a_subset_has_its_size_and_the_shares_of_the_whole(seed: int, sizes: list[int], share: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    wanted = max(4 * len(sizes), int(share * len(labels)))
    parts = split(items(labels, np.arange(len(labels))), config(split_seed=seed, subset=wanted))
    kept = parts != UNUSED
    assert kept.sum() == wanted
    for label, size in enumerate(sizes):
        assert abs(int(kept[labels == label].sum()) - max(4, wanted * size / len(labels))) <= len(sizes)
    assert set(parts[kept].tolist()) == {TRAIN, SELECTION, TEST}
    again = split(items(labels, np.arange(len(labels))), config(split_seed=seed, subset=wanted))
    assert np.array_equal(parts, again)


def test_a_subset_keeps_given_splits_and_lowers_given_counts() -> None:
    labels = np.tile([0, 1], 300)
    given = np.array([TRAIN] * 400 + [SELECTION] * 100 + [TEST] * 100)
    parts = split(items(labels, np.arange(600), given), config(subset=60))
    assert [int((parts == part).sum()) for part in (TRAIN, SELECTION, TEST)] == [40, 10, 10]
    assert (parts[500:] <= TEST).all()
    assert set(parts[:400].tolist()) == {TRAIN, UNUSED}
    counts = config(train=300, selection=100, test=200, subset=60)
    assert [int((split(items(labels, np.arange(600)), counts) == p).sum()) for p in (TRAIN, SELECTION, TEST)] == [
        30,
        10,
        20,
    ]


@pytest.mark.parametrize("subset", [7, 601])
def test_silly_subsets_are_refused(subset: int) -> None:
    with pytest.raises(DataError, match=r"dataset\.subset would be"):
        split(items(np.tile([0, 1], 300), np.arange(600)), config(subset=subset))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"subset": 3}, "dataset.subset=3 is too small"),
        ({"subset": 500, "test": 100}, "dataset.subset does not go together with dataset.test"),
        ({"accept": ["leak"]}, "dataset.accept=leak"),
        ({"card": "some"}, "dataset.card=some"),
    ],
)
def test_bad_settings_are_refused_with_their_key(values: dict[str, object], message: str) -> None:
    whole = Config(dataset=config(**values))
    whole.acceptance.rule = "paired"
    with pytest.raises(ConfigError, match=message) as caught:
        check(whole)
    assert caught.value.fix
