"""The audit of the images, before a model is asked or a network trained: can a result on them mean anything?

What concerns single classes looks at the training images alone. Between the splits it counts equal and nearly equal
pictures. The findings go on the card, so no sentence tells anything of single selection or test images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from improve.config.schema import DatasetConfig
from improve.datasets.findings import Finding
from improve.datasets.giveaway import Telling, telling
from improve.datasets.near_duplicates import MOST_IMAGES
from improve.datasets.source import FREE, PARTS, PLAIN, SELECTION, TEST, TRAIN, Terms

EXAMPLES = 5  # shown for one finding
TINY = 20  # training images of a class, below which little can be learnt
IMBALANCE = 10.0  # images of the commonest class for each of the rarest
FEW = 100  # selection or test images, below which a score says little
LEAKED = 0.1  # share of given test images that are training images, too: such a split was not made with care
NEAR = 0.2  # share of selection and test images that nearly equal a training image
BLANK = 0.5  # share of the images that are of one colour
CONTRADICTORY = 0.2  # share of the images whose picture also has another label
NEARLY_ALWAYS = 0.95  # a property of the files that tells the class so often leaves nothing to learn from the pictures


@dataclass(frozen=True)
class Evidence:
    """N images as the audit sees them.

    `given`, `parts`: before and after our split. `pictures`: N numbers, equal for equal pictures. `groups`: N numbers,
    equal for what the split kept together. `near`: P × 2 positions of nearly equal pictures. `blank`: N, whether of one
    colour. `files`: by name, a property of each file. `words`: the same for texts that the pipelines never see.
    `terms`: how people change what they gave.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    given: np.ndarray
    parts: np.ndarray
    pictures: np.ndarray
    groups: np.ndarray
    near: np.ndarray
    blank: np.ndarray
    digests: Sequence[bytes]
    names: Sequence[str]
    files: Mapping[str, Sequence[Hashable]] = field(default_factory=dict)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    terms: Terms = PLAIN

    def per_class(self, part: int) -> np.ndarray:
        return np.bincount(self.labels[self.parts == part], minlength=len(self.class_names))

    def shown(self, row: int) -> str:
        return f"{self.names[row]} ({self.class_names[self.labels[row]]})"


def audit(evidence: Evidence, config: DatasetConfig) -> list[Finding]:
    """All findings on prepared images."""
    return [
        *_about_splits(evidence),
        *_about_copies(evidence),
        *_about_leakage(evidence),
        *_about_near_duplicates(evidence, config),
        *_about_contradictions(evidence),
        *_about_classes(evidence),
        *_about_sizes(evidence),
        *_about_blank(evidence),
        *_about_files(evidence),
        *_about_words(evidence),
    ]


def _about_splits(evidence: Evidence) -> list[Finding]:
    """How the splits came about, and what is not used."""
    given = [name for part, name in enumerate(PARTS) if part != TRAIN and (evidence.given == part).any()]
    unused = evidence.parts < 0
    if given:
        found = [Finding("splits", "note", f"the {' and '.join(given)} images came as a split of their own")]
        dropped = int((unused & (evidence.given != FREE)).sum())
        why = "copies of selection or test images, or not asked for"
        what = f"images of the given splits that are not used: {dropped:,} ({why})"
        return [*found, Finding("unused", "note", what)] if dropped else found
    count = int(unused.sum())
    return [Finding("unused", "note", f"images that are not used: {count:,}")] if count else []


def _about_copies(evidence: Evidence) -> list[Finding]:
    copies = len(evidence.pictures) - len(np.unique(evidence.pictures))
    what = f"images that equal another one once prepared: {copies:,} (they stay in the same split)"
    return [Finding("copies", "note", what)] if copies else []


def _about_leakage(evidence: Evidence) -> list[Finding]:
    """Pictures, and groups, that a given split has on both sides."""
    found = []
    for part, name in ((TEST, "test"), (SELECTION, "selection")):
        inside = evidence.given == part
        before = (evidence.given == TRAIN) | (evidence.given == FREE)
        if not inside.any():
            continue
        known = inside & np.isin(evidence.pictures, evidence.pictures[before])
        if known.any():
            share = float(known.sum() / inside.sum())
            what = f"given {name} images that are training images, too: {int(known.sum()):,} of {int(inside.sum()):,}"
            found.append(
                Finding(
                    "leakage",
                    "stop" if share > LEAKED else "warning",
                    f"{what} (these training images are left out)",
                    f"make a split that keeps copies together, or leave it to improve: {evidence.terms.unsplit}",
                    _pairs(evidence, known, before),
                )
            )
        grouped = inside & np.isin(evidence.groups, evidence.groups[before]) & ~known
        if grouped.any():
            what = f"given {name} images with training images of their group: {int(grouped.sum()):,}"
            found.append(Finding("straddling", "warning", f"{what} (these training images are left out)"))
    return found


def _pairs(evidence: Evidence, these: np.ndarray, those: np.ndarray) -> tuple[str, ...]:
    """Examples of equal pictures in two sets of images."""
    first: dict[int, int] = {}
    for row in np.flatnonzero(those).tolist():
        first.setdefault(int(evidence.pictures[row]), row)
    shown = np.flatnonzero(these)[:EXAMPLES].tolist()
    return tuple(f"{evidence.shown(row)} = {evidence.shown(first[int(evidence.pictures[row])])}" for row in shown)


def _about_near_duplicates(evidence: Evidence, config: DatasetConfig) -> list[Finding]:
    """Pictures that nearly equal one in train. Equal ones are not among them: these never straddle."""
    pairs = evidence.near
    if len(evidence.labels) > MOST_IMAGES:
        return [
            Finding("near_skipped", "note", f"near-duplicates are not looked for among over {MOST_IMAGES:,} images")
        ]
    if not len(pairs):
        return []
    apart = evidence.parts[pairs]
    straddling = pairs[(apart.min(axis=1) == TRAIN) & (apart.max(axis=1) > TRAIN)]
    held_out = np.unique(straddling[evidence.parts[straddling] > TRAIN])
    if not len(held_out):
        what = f"images that nearly equal another one: {len(np.unique(pairs)):,}"
        kept = " (they stay in the same split)" if config.group_near_duplicates else ""
        return [Finding("near_duplicates", "note", what + kept)]
    total = int(np.isin(evidence.parts, (SELECTION, TEST)).sum())
    share = len(held_out) / total
    return [
        Finding(
            "near_leakage",
            "stop" if share > NEAR else "warning",
            f"selection and test images that nearly equal a training image: {len(held_out):,} of {total:,}",
            "keep them in one split with dataset.group_near_duplicates=true"
            if not config.group_near_duplicates
            else f"the given splits share pictures: {evidence.terms.unsplit}",
            tuple(f"{evidence.shown(a)} ≈ {evidence.shown(b)}" for a, b in straddling[:EXAMPLES].tolist()),
        )
    ]


def _about_contradictions(evidence: Evidence) -> list[Finding]:
    """Equal pictures with different labels: nobody can be right on all of them."""
    labels_of: dict[int, dict[int, int]] = {}
    for row, (picture, label) in enumerate(zip(evidence.pictures.tolist(), evidence.labels.tolist(), strict=True)):
        labels_of.setdefault(picture, {}).setdefault(label, row)
    ambiguous = {picture: rows for picture, rows in labels_of.items() if len(rows) > 1}
    if not ambiguous:
        return []
    share = float(np.isin(evidence.pictures, list(ambiguous)).mean())
    return [
        Finding(
            "contradictions",
            "stop" if share > CONTRADICTORY else "warning",
            f"pictures that occur under more than one class: {len(ambiguous):,}",
            "give each picture one label",
            tuple(
                f"the same picture: {' = '.join(evidence.shown(row) for row in rows.values())}"
                for rows in list(ambiguous.values())[:EXAMPLES]
            ),
        )
    ]


def _about_classes(evidence: Evidence) -> list[Finding]:
    """Classes that are tiny, or many times as frequent as others."""
    found = []
    counts = evidence.per_class(TRAIN)
    tiny = np.flatnonzero(counts < TINY)
    rarest, commonest = int(counts.argmin()), int(counts.argmax())
    if len(tiny):
        fewest = f"{evidence.class_names[rarest]!r} has {counts[rarest]}"
        what = f"classes with fewer than {TINY} training images: {len(tiny):,} of {len(counts):,} ({fewest})"
        found.append(Finding("tiny_classes", "warning", what, "add images of these classes, or merge them with others"))
    ratio = counts[commonest] / max(1, counts[rarest])
    if ratio > IMBALANCE:
        names = f"{evidence.class_names[commonest]!r} and {evidence.class_names[rarest]!r}"
        always = f"always answering the first would be right on {counts[commonest] / counts.sum():.0%}"
        what = f"the commonest class has {ratio:,.0f} times the images of the rarest: {names}; {always}"
        found.append(Finding("imbalance", "warning", what, "read the score of each class in the page, not just one"))
    return found


def _about_sizes(evidence: Evidence) -> list[Finding]:
    """Splits so small that a score on them is mostly chance."""
    found = []
    for part, name in ((SELECTION, "selection"), (TEST, "test")):
        total = int((evidence.parts == part).sum())
        if 0 < total < FEW:
            # 95% interval of an accuracy of one half.
            margin = 100 * 1.96 * math.sqrt(0.25 / total)
            what = f"only {total} {name} images: a score on them is uncertain by up to ±{margin:.0f} points"
            fix = "add images"
            if not (evidence.given == part).any():
                fix += f", or give a larger share with dataset.{name}_fraction"
            found.append(Finding("few_images", "warning", what, fix))
    return found


def _about_blank(evidence: Evidence) -> list[Finding]:
    if not evidence.blank.any():
        return []
    rows = np.flatnonzero(evidence.blank)
    share = len(rows) / len(evidence.blank)
    return [
        Finding(
            "blank",
            "stop" if share > BLANK else "warning",
            f"images of one colour, without any content: {len(rows):,}",
            "look at them, and remove what is no picture of its class",
            tuple(evidence.shown(row) for row in rows[:EXAMPLES].tolist()),
        )
    ]


def _about_files(evidence: Evidence) -> list[Finding]:
    """Properties of the files that tell the class: a network may learn the traces that they leave in the pixels."""
    told = _told(evidence, {name: values for name, values in evidence.files.items() if name != "file size"})
    found = []
    if told is not None and told.clear:
        what = f"the {told.name} of a file alone tells its class on {told.accuracy:.0%} (chance {told.chance:.0%})"
        found.append(
            Finding(
                "giveaway",
                "stop" if told.accuracy >= NEARLY_ALWAYS else "warning",
                f"{what}, for instance {told.example}: a network may learn this instead of what is in the pictures",
                "save all images in one format and one size, cut or padded, not stretched",
            )
        )
    size = _told(evidence, {name: values for name, values in evidence.files.items() if name == "file size"})
    if size is not None and size.clear:
        what = f"the size of a file in bytes tells its class on {size.accuracy:.0%} (chance {size.chance:.0%})"
        found.append(Finding("file_size", "note", f"{what}; the pipelines see pixels alone"))
    return found


def _about_words(evidence: Evidence) -> list[Finding]:
    words = {name: [_without_numbers(text) for text in values] for name, values in evidence.words.items()}
    told = _told(evidence, words)
    if told is None or not told.clear:
        return []
    what = f"{told.name} tell the class on {told.accuracy:.0%} (chance {told.chance:.0%})"
    return [Finding("names", "note", f"{what}: they are removed, no pipeline sees them")]


def _told(evidence: Evidence, properties: Mapping[str, Sequence[Hashable]]) -> Telling | None:
    """The property that tells most of the classes of the training images."""
    rows: list[int] = np.flatnonzero(evidence.parts == TRAIN).tolist()
    labels, digests = evidence.labels[rows], [evidence.digests[row] for row in rows]
    tellings = [telling(name, [values[row] for row in rows], labels, digests) for name, values in properties.items()]
    return max((one for one in tellings if one is not None), key=lambda one: one.accuracy, default=None)


def _without_numbers(text: str) -> str:
    """What the texts of many files may share: "Cat.0012.jpg" → "cat..jpg"."""
    return re.sub(r"\d+", "", text).lower()
