"""How numbers and foreign text are written for people: the same on the terminal, on the end card and on pages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from improve.domain import Verdict

# Terminal sequences that programs print: CSI (colours, cursor), OSC (titles, links), and two-character ones.
# An unfinished sequence ends with its line, so that nothing can hide what follows it.
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")
_KEPT = "\n\t"

_MARKED = (
    Verdict.ACCEPTED, Verdict.KEPT, Verdict.SURPASSED, Verdict.REJECTED, Verdict.WITHIN_NOISE, Verdict.FAILED,
)  # fmt: skip
MARKS = dict(zip(_MARKED, "✔≈‹✘~!", strict=True))
ASCII_MARKS = dict(zip(_MARKED, "+=<x~!", strict=True))


def clean(text: str) -> str:
    """Foreign text without anything that could steer a terminal or reorder what is read.

    Escape sequences, control and formatting characters go; line ends of any kind become newlines, tabs stay.
    """
    text = re.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", _ESCAPE.sub("", text))
    return "".join(map(_harmless, text))


def last_overwritten(text: str) -> str:
    """A log in which of each line that a progress bar overwrote (by carriage returns) only the last state is left."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(next((part for part in reversed(line.split("\r")) if part), "") for line in lines)


def _harmless(character: str) -> str:
    if character in _KEPT:
        return character
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return "" if category in ("Cc", "Cf") else character


def one_line(text: str, limit: int | None = None) -> str:
    """Foreign text on one line, cut to `limit` characters (the cut is shown)."""
    line = " ".join(clean(text).split())
    return line if limit is None or len(line) <= limit else line[: max(0, limit - 1)].rstrip() + "…"


def cut_middle(text: str, limit: int) -> str:
    """Text of at most about `limit` characters: its beginning and its end, with a line between that says what went."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit - limit * 2 // 3
    return f"{text[:head]}\n[… {len(text) - limit:,} characters left out …]\n{text[-tail:]}"


def percent(fraction: float) -> str:
    """0.6123 → "61.2%"."""
    return f"{100 * fraction:.1f}%"


def interval(low: float, high: float) -> str:
    """0.59, 0.63 → "59.0–63.0%"."""
    return f"{100 * low:.1f}–{100 * high:.1f}%"


def points(difference: float) -> str:
    """0.059 → "+5.9 pp" (percentage points)."""
    return f"{100 * difference:+.1f} pp"


def p_value(p: float) -> str:
    """0.0123 → "p = 0.012"; very small ones are not spelled out."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def duration(seconds: float) -> str:
    """75 → "1:15"; 4000 → "1:06:40"."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def time_taken(seconds: float) -> str:
    """4.2 → "4 s"; 75 → "1.2 minutes"; 8000 → "2.2 hours"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def count(number: float, noun: str, plural: str = "") -> str:
    """1, "call" → "1 call"; 1200, "call" → "1,200 calls"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def trained(training: Mapping[str, Any]) -> str:
    """How long the training of a record took, and whether it saw all images."""
    steps = f" ({count(training['steps'], 'step')})" if training.get("steps") else ""
    said = f"{count(training['epochs'], 'epoch')}{steps} in {time_taken(training['fit_seconds'])}"
    if training["epochs"] and training.get("epochs_that_fit", 1) < 1:
        limit = "executor.steps" if training.get("step_seconds") == 0 else "executor.fit_seconds"
        said += f", on a part of the images: an epoch over all of them does not fit in {limit}"
    if training.get("compiled") == "yes":
        gain = training.get("compile_gain")
        more = f": {gain:.2g} times as many steps, for {time_taken(training['compile_seconds'])}" if gain else ""
        said += f", compiled{more}"
    return said


def short_count(number: int) -> str:
    """812 → "812"; 12345 → "12.3k"; 4560000 → "4.6M"."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def money(usd: float | None, rule_based: bool) -> str:
    """What the calls cost, never a guess: an unknown price is said to be unknown."""
    if rule_based:
        return "0 USD (no language model)"
    if usd is None:
        return "price unknown"
    return f"{usd:.2f} USD" if usd >= 1 or usd == 0 else f"{usd:.4f} USD"


def llm_name(name: str, rule_based: bool) -> str:
    return f"{name} (rule-based expert, no language model)" if rule_based else name
