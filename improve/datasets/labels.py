"""Class names that people did not mean: missing values as text, one class spelt in two ways, numbers to be predicted.

Each is refused before any image is read, unless `dataset.accept` names it; then the audit tells of it.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from improve.config.schema import DatasetConfig
from improve.datasets.findings import Finding
from improve.errors import DataError

# How programs write that a value is missing, in lower case.
MISSING = frozenset(
    ("", "nan", "-nan", "none", "null", "nil", "na", "n/a", "n.a.", "n.a", "<na>", "#n/a", "nat", "-", "--", "?")
)
EXAMPLES = 5  # named in a message
MOST_NUMBERS = 20  # classes that are whole numbers, above which they may be quantities
MOST_FRACTIONS = 10  # … that are numbers with fractions
FEW = 4  # images of a class, below which it cannot be shared out among the splits
SEVERAL = 0.05  # share of the labels that look like several, from which they are taken for that
SEPARATORS = re.compile(r"\s*[|;,+&/]\s*|\s+")  # between labels in one cell


def is_missing(label: str) -> bool:
    """Whether a label reads like a missing value."""
    return label.strip().casefold() in MISSING


def check_classes(
    counts: Mapping[str, int], config: DatasetConfig, where: str, fixes: Mapping[str, str]
) -> list[Finding]:
    """What is odd about the class names (`counts`: images of each), where `dataset.accept` allows it.

    `where` says where the names stand, as a part of a sentence ("column 'label' of a.csv"); `fixes` what to do there,
    by the code of the finding. Raises `DataError` for what is not accepted.
    """
    found = [*_missing(counts, where), *_similar(counts, where), *_quantities(counts, where), *_several(counts, where)]
    result = []
    for code, what in found:
        finding = Finding(code, "stop", what, fixes.get(code, ""))
        if code not in config.accept:
            raise DataError(
                f"{what[:1].upper()}{what[1:]}.",
                f"{fixes[code]}; or, if it is meant like that, {accepting(config, code)}",
            )
        result.append(finding)
    return result


def accepting(config: DatasetConfig, *codes: str) -> str:
    """The setting, for a shell, that accepts these findings beside those that are accepted already."""
    return shlex.quote(f"dataset.accept=[{','.join(dict.fromkeys([*config.accept, *codes]))}]")


def folded(name: str) -> str:
    """Equal for names that differ in case, spaces, underscores, hyphens, Unicode form, the form of a number, or by

    signs that nobody sees.
    """
    seen = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    plain = re.sub(r"[\s_\-‐‑–]+", "", unicodedata.normalize("NFKC", seen).casefold())
    number = _number(plain)
    return plain if number is None else repr(number)


def spelt_alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The names that differ in their spelling alone. Single characters are not among them: letters in two cases."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(folded(name), []).append(name)
    several = [tuple(group) for group in groups.values() if len(group) > 1]
    return [group for group in several if any(len(name.strip()) > 1 for name in group)]


def shown_names(names: Sequence[str]) -> str:
    """Names for a message, the first ones."""
    more = f" and {len(names) - EXAMPLES:,} more" if len(names) > EXAMPLES else ""
    return ", ".join(repr(name) for name in names[:EXAMPLES]) + more


def _missing(counts: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    found = [name for name in counts if is_missing(name)]
    if not found:
        return []
    named = ", ".join(f"{name!r} ({counts[name]:,} images)" for name in found[:EXAMPLES])
    return [("missing_labels", f"{where} has labels that read like missing values: {named}")]


def _similar(counts: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    groups = spelt_alike(counts)
    if not groups:
        return []
    named = "; ".join(
        " = ".join(f"{name!r} ({counts[name]:,} images)" for name in group) for group in groups[:EXAMPLES]
    )
    return [("similar_classes", f"{where} has classes that differ in spelling alone: {named}")]


def _quantities(counts: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    """Numbers that look like measured values, which a classifier would take for unrelated names."""
    values = [value for value in map(_number, counts) if value is not None]
    if len(values) < len(counts):
        return []
    fractional = any(value != int(value) for value in values)
    rare = sum(count < FEW for count in counts.values())
    if len(values) <= (MOST_FRACTIONS if fractional else MOST_NUMBERS) or not (fractional or rare > len(values) / 4):
        return []
    few = f", {rare:,} of them with fewer than {FEW} images" if rare else ""
    span = f"from {min(values):g} to {max(values):g}"
    what = f"{where} has {len(counts):,} different numbers {span}{few}: they look like quantities, not like classes"
    return [("numeric_labels", what)]


def _several(counts: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    """Labels such as "cat|dog", whose parts are labels, too: one of them, or all where another sign separates them."""
    single = Counter(part.strip() for name in counts for part in name.split("|"))
    alone = {_bare(name) for name in counts}
    joined = []
    for name in counts:
        parts = SEPARATORS.split(_bare(name))
        some = "|" in name and any(single[part.strip()] > 1 for part in name.split("|"))
        if some or (len(parts) > 1 and all(_bare(part) in alone for part in parts)):
            joined.append(name)
    if sum(counts[name] for name in joined) <= SEVERAL * sum(counts.values()):
        return []
    what = f"{where} has several labels for one image, such as {shown_names(joined[:2])}: each image needs one class"
    return [("several_labels", what)]


def is_number(text: str) -> bool:
    return _number(text) is not None


def _bare(text: str) -> str:
    """A label without the signs of a list around it: "['cat']" is "cat"."""
    return text.strip(" []()'\"")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None
