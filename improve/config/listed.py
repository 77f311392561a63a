"""litellm's table of models, read as the file that it is: importing litellm takes seconds."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

TABLE = "model_prices_and_context_window_backup.json"
# Whose models an option of ours can be given: by litellm's provider, and whether they reason before they write.
OPTIONS = {
    ("openai", False): "gpt-4o", ("openai", True): "o1", ("anthropic", False): "claude", ("anthropic", True): "claude",
    ("gemini", True): "gemini", ("deepseek", False): "deepseek", ("deepseek", True): "deepseek",
}  # fmt: skip


@functools.cache
def listed() -> dict[str, Any]:
    """What litellm knows of models, by name. Empty where its package has no such file: then nothing is known."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / TABLE
        if path.is_file():
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return values
    return {}


def overrides_for(name: str) -> str:
    """The overrides that choose the chat model which is called most like `name`: "llm=o1 llm.model=openai/gpt-5"."""
    known: dict[str, str] = {}
    for model, entry in listed().items():
        option = OPTIONS.get((entry.get("litellm_provider"), bool(entry.get("supports_reasoning"))))
        if option and entry.get("mode") == "chat":
            bare = model.rsplit("/", 1)[-1]
            known.setdefault(_plain(bare), f"llm={option} llm.model={entry['litellm_provider']}/{bare}")
    close = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.7)
    return known[close[0]] if close else "llm=gpt-4o llm.model=PROVIDER/MODEL llm.api_key_env=VARIABLE"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
