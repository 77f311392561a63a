"""A few rows of an array in an .npz file that may be larger than the memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

BLOCK = 16 * 2**20  # bytes read at once


def read_rows(file: Path, name: str, rows: np.ndarray) -> np.ndarray:
    """`np.load(file)[name][rows]`, `rows` ascending, with little memory.

    Raises what `zipfile` and NumPy raise on damaged files (`BadZipFile`, `ValueError`, `EOFError`, `zlib.error`), and
    `KeyError` if there is no such array.
    """
    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(member)
        if fortran or dtype.hasobject or (len(rows) and rows[-1] >= shape[0]):
            raise ValueError(f"the array {name} has another layout or too few rows ({shape[0]:,})")
        found = np.empty((len(rows), *shape[1:]), dtype)
        size = int(np.prod(shape[1:])) * dtype.itemsize
        step = max(1, BLOCK // size)
        for first in range(0, shape[0], step):
            count = min(step, shape[0] - first)
            content = member.read(count * size)
            if len(content) < count * size:
                raise EOFError(f"the array {name} ends early")
            block = np.frombuffer(content, dtype).reshape(count, *shape[1:])
            here = slice(*np.searchsorted(rows, (first, first + count)))
            found[here] = block[rows[here] - first]
        return found
