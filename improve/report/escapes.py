"""Foreign text as Markdown and LaTeX show it: as it is, on one line."""

from __future__ import annotations

import re

from improve.display.text import one_line

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "−": r"$-$", "–": "--", "—": "---",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "↺": r"$^\circ$", "°": r"$^\circ$", "×": r"$\times$", "·": r"$\cdot$",
    "“": "``", "”": "''", "’": "'", "…": r"\ldots{}",
}  # fmt: skip
_ACCENTED = "àáâãäåæçèéêëìíîïñòóôõöøœùúûüýÿß"  # what LaTeX's oldest fonts can set


def markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))


def tex(text: str) -> str:
    """Characters that LaTeX's usual fonts lack are named by their number."""
    return "".join(_LATEX.get(one, one if _settable(one) else f"[U+{ord(one):04X}]") for one in one_line(text))


def _settable(character: str) -> bool:
    return character.isascii() or character.lower() in _ACCENTED
