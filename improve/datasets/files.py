"""Images that lie in files: reading one, and a source of many with their labels."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets.findings import Finding
from improve.datasets.source import PLAIN, Raw, Source, Terms
from improve.pipeline.template.images import DAMAGE, Preparation, UnreadableImage, decode, formats

LARGEST_SIZE = 128  # pixels: the default side, unless most images are smaller
SIZE_SAMPLE = 200  # files whose header is read to find that out
LARGEST_FILE = 512 * 2**20  # bytes


def from_files(
    paths: Sequence[Path],
    labels: Sequence[int],
    parts: Sequence[int],
    class_names: Sequence[str],
    config: DatasetConfig,
    findings: Sequence[str | Finding] = (),
    groups: list[str] | None = None,
    terms: Terms = PLAIN,
) -> Source:
    """A source of N image files with N class numbers and N parts; `groups` as in `Source`."""
    side = config.image_size or usual_side(paths)
    return Source(
        class_names=tuple(class_names),
        labels=np.array(labels, dtype=np.int64),
        parts=np.array(parts, dtype=np.int64),
        size=(side, side),
        read=lambda row, to: read_file(paths[row], to),
        name=lambda row: shown(str(paths[row])),
        findings=tuple(findings),
        groups=groups,
        terms=terms,
    )


def state(paths: Iterable[Path]) -> str:
    """A hash (hexadecimal) of the names, sizes and times of files: quick, and another one if any was changed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
            found = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            found = "unreadable"
        digest.update(os.fsencode(f"{path}\0{found}\0"))
    return digest.hexdigest()


def read_file(path: Path, to: Preparation) -> Raw:
    """The image in a file. Raises `UnreadableImage`."""
    try:
        # Opening a named pipe would wait for ever.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("is not a regular file")
        if status.st_size > LARGEST_FILE:
            raise UnreadableImage(f"is larger than {LARGEST_FILE // 2**20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror})") from error
    picture = decode(io.BytesIO(content), to)
    return Raw(picture, hashlib.blake2b(content, digest_size=32).digest(), len(content))


def usual_side(paths: Sequence[Path]) -> int:
    """The median of the longer sides in a sample of the files, or 128 pixels if that is smaller."""
    sides = []
    for path in paths[:: max(1, len(paths) // SIZE_SAMPLE)]:
        try:
            if path.is_file():
                with Image.open(path, formats=formats()) as image:
                    sides.append(max(image.size))
        except DAMAGE:
            continue  # found and named when all the files are read
    return min(LARGEST_SIZE, int(np.median(sides))) if sides else LARGEST_SIZE


def shown(text: str) -> str:
    """A file name as text that can be printed and stored, whatever its bytes."""
    return os.fsencode(text).decode("utf-8", "replace")
