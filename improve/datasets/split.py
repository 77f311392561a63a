"""Who goes where: train, selection, test. A function of the images' content, their labels and a seed, nothing else.

Equal images form a group, and a group is never divided, so that no picture of one split comes back in another; images
that the source names together (`Source.groups`) belong to one group, too, and near-duplicates if that is asked for.
Each class is shared out in the same proportions. The order of files and the names of files have no influence.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.source import FREE, PLAIN, SELECTION, TEST, TRAIN, UNUSED, Terms
from improve.errors import DataError

# Fewest images of a class in train (one to fit, one for the pipeline's own early stopping), selection and test.
LEAST = (2, 1, 1)
KEYS = ("dataset.train", "dataset.selection", "dataset.test")
NAMES = ("the training split", "the selection split", "the test split")
EARLIER = {TEST: (SELECTION, TRAIN, FREE), SELECTION: (TRAIN, FREE)}  # they give way to a given part


@dataclass(frozen=True)
class Items:
    """N images as the split sees them.

    `labels`: class numbers. `groups`: N numbers, equal for what may not be divided (see `together`). `digests`: N
    hashes of the originals, the only source of chance. `given`: N of `TRAIN`, `SELECTION`, `TEST`, `FREE`. `terms`: how
    people change what they gave.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    groups: np.ndarray
    digests: list[bytes]
    given: np.ndarray
    terms: Terms = PLAIN


def split(items: Items, config: DatasetConfig, apart: Sequence[int] = (TEST, SELECTION)) -> np.ndarray:
    """The part (`TRAIN`, `SELECTION`, `TEST`, `UNUSED`) of each of N images. Raises `DataError` if one lacks a class.

    Given parts stay what they are, except that `config.selection` and `config.test` may ask for fewer, and that
    training images of a group that selection or test has, and selection images of a group that test has, are left out
    (`apart`: the given parts that must share no group with the earlier ones).
    `config.subset`: so many images of all, stratified; counts that the configuration gives are lowered in proportion.
    """
    parts = items.given.copy()
    for part in apart:
        known = np.isin(items.groups, items.groups[parts == part])
        parts[known & np.isin(parts, EARLIER[part])] = UNUSED
    if config.subset is not None:
        config = _thinned(items, parts, config.subset, config)
    for part, asked in ((TEST, config.test), (SELECTION, config.selection)):
        pool = parts == part
        if asked is not None and pool.any():
            _draw(items, parts, pool, (part,), _quotas(items, pool, {part: asked}, config), config.split_seed)
    # What is left is shared out among the parts that did not come with the images.
    parts[parts == TRAIN] = FREE
    pool = parts == FREE
    wanted = _wanted(int(pool.sum()), len(items.class_names), config, SELECTION in parts, TEST in parts)
    _draw(items, parts, pool, tuple(wanted), _quotas(items, pool, wanted, config), config.split_seed)
    _check_classes(items, parts)
    return parts


def given_in_two(given: np.ndarray) -> np.ndarray:
    """What the given parts of N images are where selection has no images of its own (the paper, section 4.1).

    Given validation images train if there are test images, and are the test images else ("If no test set is provided,
    we designate the validation set as the test set").
    """
    return np.where(given == SELECTION, TRAIN if (given == TEST).any() else TEST, given)


def split_in_two(items: Items, config: DatasetConfig) -> np.ndarray:
    """`TRAIN`, `TEST` or `UNUSED` for each of N images: the two splits of the paper (section 4.1).

    The given test images if there are any, else the given validation images, else those that `split` draws, by default
    20%. All that `split` would use for selection trains, so that both protocols test on the same images, unless only
    validation images are given.
    """
    if not (items.given == TEST).any():
        items = dataclasses.replace(items, given=given_in_two(items.given))
    parts = split(items, config, apart=(TEST,))
    return np.where(parts == SELECTION, TRAIN, parts)


def together(pictures: np.ndarray, named: Sequence[str] | None = None, pairs: np.ndarray | None = None) -> np.ndarray:
    """N numbers, equal for images that must stay in one split, directly or through others.

    `pictures`: N numbers, equal for equal pictures. `named`: N names of groups, "" for none. `pairs`: P × 2 positions.
    """
    # Takes a moment to import, and is needed only where images are prepared.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(pictures)
    links = [_chains(pictures)]
    if named is not None:
        has_name = np.flatnonzero(np.array([bool(name) for name in named], dtype=bool))
        _, numbers = np.unique(np.array([named[row] for row in has_name.tolist()], dtype=str), return_inverse=True)
        links.append(has_name[_chains(numbers)])
    if pairs is not None:
        links.append(pairs)
    first, second = np.concatenate(links).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _chains(numbers: np.ndarray) -> np.ndarray:
    """Pairs of positions (P × 2) that link all positions with the same number."""
    by_number = np.argsort(numbers, kind="stable")
    same = np.flatnonzero(np.diff(numbers[by_number]) == 0)
    return np.column_stack([by_number[same], by_number[same + 1]])


def _thinned(items: Items, parts: np.ndarray, subset: int, config: DatasetConfig) -> DatasetConfig:
    """Takes images out of `parts` until `subset` are left, or lowers the counts of the configuration to that."""
    classes = len(items.class_names)
    counts = (config.train, config.selection, config.test)
    if all(count is not None for count in counts):
        most = np.array(counts, dtype=np.int64)
        shares = _share(subset, most, np.array(LEAST) * classes, most, "dataset.subset")
        train, selection, test = shares.tolist()
        return dataclasses.replace(config, train=train, selection=selection, test=test)
    given = [part for part in (FREE, TRAIN, SELECTION, TEST) if (parts == part).any()]
    available = np.stack([np.bincount(items.labels[parts == part], minlength=classes) for part in given])
    # Parts that did not come with the images are cut from the first of these: it must have enough for them.
    least = np.array([sum(LEAST) - sum(LEAST[part] for part in given[1:]), *(LEAST[part] for part in given[1:])])
    least = np.repeat(least[:, None], classes, axis=1)
    quotas = _share(subset, available.ravel(), least.ravel(), available.ravel(), "dataset.subset")
    for part, quota in zip(given, quotas.reshape(available.shape), strict=True):
        _draw(items, parts, parts == part, (part,), quota[:, None], config.split_seed)
    return config


def order(digests: list[bytes], salt: bytes) -> np.ndarray:
    """A random order of N images that depends on `salt` and on the images alone, whatever order they come in."""
    keys = [hashlib.sha256(salt + digest).digest() for digest in digests]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _wanted(free: int, classes: int, config: DatasetConfig, has_selection: bool, has_test: bool) -> dict[int, int]:
    """How many of `free` images each part gets that did not come with the images."""
    wanted: dict[int, int] = {}
    rest = free
    for part, count, fraction, given in (
        (TEST, config.test, config.test_fraction, has_test),
        (SELECTION, config.selection, config.selection_fraction, has_selection),
    ):
        if not given:
            wanted[part] = count if count is not None else max(round(fraction * rest), LEAST[part] * classes)
            rest -= wanted[part]
    wanted[TRAIN] = config.train if config.train is not None else max(rest, 0)
    if sum(wanted.values()) > free:
        asked = " + ".join(
            _asked(part, config) or f"{count} images in {NAMES[part]}, the fewest for {classes} classes"
            for part, count in sorted(wanted.items())
            if count
        )
        given = any(_asked(part, config) for part in wanted)
        raise DataError(
            f"{asked} is more than the {free:,} images there are to share out.",
            "ask for fewer images" if given else "add images, or give fewer classes",
        )
    return wanted


def _asked(part: int, config: DatasetConfig) -> str:
    """The setting that asks for so many images of a part; "" if there is none."""
    count = (config.train, config.selection, config.test)[part]
    return "" if count is None else f"{KEYS[part]}={count}"


def _quotas(items: Items, pool: np.ndarray, wanted: dict[int, int], config: DatasetConfig) -> np.ndarray:
    """How many images of each class (rows) go to each part of `wanted` (columns), in its order.

    Each part takes the classes in the proportions of the pool; every class gets at least `LEAST`.
    """
    available = np.bincount(items.labels[pool], minlength=len(items.class_names))
    columns = []
    reserved = sum(LEAST[part] for part in wanted)
    for part, total in wanted.items():
        reserved -= LEAST[part]
        short = np.flatnonzero(available - reserved < LEAST[part])
        if len(short):
            few = ", ".join(f"{items.class_names[c]!r} ({np.bincount(items.labels[pool])[c]})" for c in short[:5])
            raise DataError(
                f"Too few images to share out among the splits in {len(short)} classes: {few}.",
                f"give each class at least {sum(LEAST[p] for p in wanted)} different images, or {items.terms.remove}",
            )
        least = np.full(len(available), LEAST[part])
        columns.append(_share(total, available, least, available - reserved, KEYS[part], bool(_asked(part, config))))
        available = available - columns[-1]
    return np.stack(columns, axis=1)


def _share(
    total: int, weights: np.ndarray, least: np.ndarray, most: np.ndarray, key: str, asked: bool = True
) -> np.ndarray:
    """`total` as whole numbers in proportion to `weights`, each between `least` and `most` (largest remainders).

    `key`: the setting that these images are counted by, `asked`: whether somebody set it.
    """
    lowest, highest = int(least.sum()), int(most.sum())
    if not lowest <= total <= highest:
        name = key if asked else NAMES[KEYS.index(key)]
        closest = f"{key}={min(max(total, lowest), highest)}"
        raise DataError(
            f"{name} would be {total:,} images, but it must be between {lowest:,} (a few of each class) and "
            f"{highest:,} (all there are).",
            f"set {key} to a number in that range: {closest}" if highest >= lowest else "add images",
        )
    ideal = total * weights / weights.sum()
    shares = np.clip(np.floor(ideal).astype(np.int64), least, most)
    while shares.sum() < total:
        lack = np.where(shares < most, ideal - shares, -np.inf)
        shares[int(lack.argmax())] += 1
    while shares.sum() > total:
        excess = np.where(shares > least, shares - ideal, -np.inf)
        shares[int(excess.argmax())] -= 1
    return np.asarray(shares)


def _draw(
    items: Items, parts: np.ndarray, pool: np.ndarray, targets: tuple[int, ...], quotas: np.ndarray, seed: int
) -> None:
    """Shares the images of `pool` out among `targets`, filling `quotas` (classes × targets); the rest is unused.

    Groups of several images go first, the largest ahead, each to a part drawn among those with room for all of it, in
    proportion to the room; where none has, to the target with most room.
    """
    rows = np.flatnonzero(pool)
    spare = np.bincount(items.labels[rows], minlength=len(quotas)) - quotas.sum(axis=1)
    room = np.column_stack([quotas, spare])
    destinations = np.array([*targets, UNUSED])
    overflow = targets.index(TRAIN) if TRAIN in targets else 0
    singles, groups = _groups(items, rows)
    keyed = sorted((-len(members), _key(items, members, seed), members.tolist()) for members in groups)
    for _, key, members in keyed:
        need = np.bincount(items.labels[members], minlength=len(room))[:, None]
        weights = np.where(((room >= need) | (need == 0)).all(axis=0), room[need[:, 0] > 0].sum(axis=0), 0).cumsum()
        chance = int.from_bytes(key[:6], "big") / 2**48
        if weights[-1]:
            choice = int(np.searchsorted(weights, chance * weights[-1], side="right"))
        else:
            lack = room[need[:, 0] > 0, : len(targets)].sum(axis=0)
            choice = int(lack.argmax()) if lack.any() else overflow
        parts[members] = destinations[choice]
        room[:, choice] = np.maximum(room[:, choice] - need[:, 0], 0)
    singles = np.array(sorted(singles.tolist(), key=lambda row: _key(items, [row], seed)), dtype=np.int64)
    for number in range(len(room)):
        members = singles[items.labels[singles] == number]
        choices = np.repeat(np.arange(len(destinations)), room[number])[: len(members)]
        parts[members] = destinations[overflow]
        parts[members[: len(choices)]] = destinations[choices]


def _groups(items: Items, rows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Those of `rows` whose picture occurs once among them, and the others by picture."""
    _, inverse, counts = np.unique(items.groups[rows], return_inverse=True, return_counts=True)
    several = rows[counts[inverse] > 1]
    several = several[np.argsort(items.groups[several], kind="stable")]
    borders = np.flatnonzero(np.diff(items.groups[several])) + 1
    return rows[counts[inverse] == 1], np.split(several, borders) if len(several) else []


def _key(items: Items, members: Sequence[int] | np.ndarray, seed: int) -> bytes:
    """The random key of a picture. Files that give the same picture may differ: the smallest digest stands for all."""
    return hashlib.sha256(f"split {seed} ".encode() + min(items.digests[row] for row in members)).digest()


def _check_classes(items: Items, parts: np.ndarray) -> None:
    """Every part must hold every class, whatever was left out or kept together."""
    for part, key in ((TRAIN, "training"), (SELECTION, "selection"), (TEST, "test")):
        counts = np.bincount(items.labels[parts == part], minlength=len(items.class_names))
        missing = np.flatnonzero(counts < LEAST[part])
        if len(missing):
            few = ", ".join(repr(items.class_names[c]) for c in missing[:5])
            raise DataError(
                f"Too few {key} images in {len(missing)} classes ({few}): copies and groups stay in one split.",
                f"give each class at least {sum(LEAST)} different images or groups, or {items.terms.remove}",
            )
