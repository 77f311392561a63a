"""Where prepared images and converted weights are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(cache_dir: str | None = None) -> Path:
    """The configured `cache_dir`, else $IMPROVE_CACHE, else ~/.cache/improve; absolute, perhaps not made yet."""
    return Path(cache_dir or os.environ.get("IMPROVE_CACHE") or "~/.cache/improve").expanduser().absolute()
