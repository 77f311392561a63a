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

from improve.datasets.findings import Finding
from improve.datasets.source import PLAIN, Raw, Source, Terms
from improve.pipeline.template.images import DAMAGE, Preparation, UnreadableImage, decode, formats

SIZE_SAMPLE = 200  # files whose header is read to find out how large the images are
LARGEST_FILE = 512 * 2**20  # bytes


def from_files(
    paths: Sequence[Path],
    labels: Sequence[int],
    parts: Sequence[int],
    class_names: Sequence[str],
    findings: Sequence[str | Finding] = (),
    groups: list[str] | None = None,
    terms: Terms = PLAIN,
) -> Source:
    """A source of N image files with N class numbers and N parts; `groups` as in `Source`."""
    return Source(
        class_names=tuple(class_names),
        labels=np.array(labels, dtype=np.int64),
        parts=np.array(parts, dtype=np.int64),
        shapes=some_shapes(paths),
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


def some_shapes(paths: Sequence[Path]) -> np.ndarray:
    """Heights and widths in pixels of a sample of the files (M × 2)."""
    shapes = []
    for path in paths[:: max(1, len(paths) // SIZE_SAMPLE)]:
        try:
            if path.is_file():
                with Image.open(path, formats=formats()) as image:
                    shapes.append((image.height, image.width))
        except DAMAGE:
            continue  # found and named when all the files are read
    return np.array(shapes, dtype=np.int64).reshape(-1, 2)


def shown(text: str) -> str:
    """A file name as text that can be printed and stored, whatever its bytes."""
    return os.fsencode(text).decode("utf-8", "replace")
