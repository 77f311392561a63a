"""Where the options of a configuration lie, and where prepared images and converted weights are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = _PACKAGE.parent  # of the project, unless it is installed as a wheel
# A wheel carries the options inside the package; in a checkout they lie beside it, where people look for them.
CONF = next((folder for folder in (_PACKAGE / "conf", CHECKOUT / "conf") if folder.is_dir()), _PACKAGE / "conf")


def cache_folder(cache_dir: str | None = None) -> Path:
    """The configured `cache_dir`, else $IMPROVE_CACHE, else ~/.cache/improve; absolute, perhaps not made yet."""
    return expanded(cache_dir or os.environ.get("IMPROVE_CACHE") or "~/.cache/improve").absolute()


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` and `~user` as the home folders they stand for; where there is no such user, as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
