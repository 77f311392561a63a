"""Records of trainings: one line of JSON each, appended by one write, so that a stop at any moment loses at most one.

A line that was torn by such a stop is skipped when it is read, and the next one starts on a line of its own.
"""

from __future__ import annotations

import base64
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = 31  # of a quantised probability: round(31 √p), so that small ones keep their order of magnitude


def pack_bits(bits: np.ndarray) -> str:
    """N booleans as text."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack_bits(text: str, count: int) -> np.ndarray:
    """The first `count` booleans of what `pack_bits` gave."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def pack_probabilities(probabilities: np.ndarray) -> str:
    """Probabilities N × K as text; `unpack_probabilities` gives them back on a scale of 32 steps."""
    levels = np.round(LEVELS * np.sqrt(probabilities.clip(0, 1))).astype(np.uint8)
    return base64.b64encode(lzma.compress(levels.T.tobytes(), lzma.FORMAT_ALONE)).decode()


def unpack_probabilities(text: str, classes: int) -> np.ndarray:
    """N × K float32, each row of sum 1."""
    levels = np.frombuffer(lzma.decompress(base64.b64decode(text)), np.uint8).reshape(classes, -1).T
    found = (levels.astype(np.float32) / LEVELS) ** 2
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def pack_numbers(numbers: np.ndarray) -> str:
    """N whole numbers below 256 as text."""
    return base64.b64encode(lzma.compress(numbers.astype(np.uint8).tobytes(), lzma.FORMAT_ALONE)).decode()


def unpack_numbers(text: str) -> np.ndarray:
    return np.frombuffer(lzma.decompress(base64.b64decode(text)), np.uint8)


def append(file: Path, record: dict[str, Any]) -> None:
    """Add a line in one write; several processes may do so at once."""
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"only {written:,} of {len(line):,} bytes could be written to {file}")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: Path) -> Iterator[dict[str, Any]]:
    """All whole records of a file; none if there is no such file."""
    if not file.exists():
        return
    with open(file, "rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # torn by a stop
            if isinstance(record, dict):
                yield record
