"""A folder of photos in two classes, as a user has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photos(root: Path, count: int = 24, size: tuple[int, int] = (300, 400)) -> Path:
    random = np.random.default_rng(0)
    for number in range(count):
        path = root / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((size[1], size[0])).save(path)
    return root
