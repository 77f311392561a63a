"""Where the options of a configuration lie, and where prepared images and converted weights are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the options inside the package; in a checkout they lie beside it, where people look for them.
CONF = next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), _PACKAGE / "conf")


def cache_folder(cache_dir: str | None = None) -> Path:
    """The configured `cache_dir`, else $IMPROVE_CACHE, else ~/.cache/improve; absolute, perhaps not made yet."""
    return Path(cache_dir or os.environ.get("IMPROVE_CACHE") or "~/.cache/improve").expanduser().absolute()
