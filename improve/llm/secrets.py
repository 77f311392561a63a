"""Keys never leave this process but in a request's header: whatever comes back is searched for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

SECRET_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD)$")
SHORTEST = 8  # characters; what is shorter is no secret ("none", "ollama") and would be found in ordinary text
SHORTEST_OTHER = 16  # … of variables that are only named like keys
HIDDEN = "[key]"


def redact(text: str, key_variable: str | None = None) -> str:
    """The text with `[key]` in place of every key: the value of `key_variable` and of all variables named like keys."""
    for key in sorted(set(_keys(key_variable)), key=len, reverse=True):
        text = text.replace(key, HIDDEN)
    return text


def _keys(key_variable: str | None) -> Iterator[str]:
    for name, value in os.environ.items():
        key = value.strip()
        if len(key) >= (SHORTEST if name == key_variable else SHORTEST_OTHER) and (
            name == key_variable or SECRET_NAME.search(name)
        ):
            yield key
