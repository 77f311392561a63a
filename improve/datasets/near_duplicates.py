"""Pictures that are nearly the same: recompressed, rescaled, a little brighter. Found by a perceptual hash.

1. A picture becomes a grey thumbnail of 18 × 18 cells, and that a hash of 128 bits: whether the brightness rises from
   cell to cell of a 9 × 9 grid, to the right and downwards (a "difference hash" in both directions).
2. Candidates are pairs of pictures that agree in one of eight parts of 16 bits, and in most bits of the whole hash.
   Among more than `NEIGHBOURS` pictures that agree in a part, each is compared with the next ones in the order of
   their hashes, not with all: the work grows with the number of pictures, not with its square.
3. A candidate pair counts if the thumbnails, brought to the same mean and contrast, differ by at most a quarter of it;
   or by at most a tenth, in a set whose pictures look alike by nature (centred clothes, digits): many partners for each
   picture within a quarter, few of them within a tenth. There a quarter would call half of the set duplicates
   (6,854 of 13,000 images of Fashion-MNIST; a tenth 555), while copies of photos are few and mostly close
   (recompressed ones of 1,500 flowers: 99% within 0.06).

All of it is whole-number arithmetic, so that every machine finds the same pairs. What it does not find: pictures that
were mirrored, turned, or cropped by more than a few percent. Scenes that differ in fine detail alone (drawings, shapes
that moved by a pixel) may look the same to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CELLS = 18  # of a side of the thumbnail
SMALLEST = CELLS  # pixels: the cells of smaller pictures would be empty
FINE = 16  # a thumbnail's unit: 1/16 grey level
MARGIN = FINE  # a rise counts from one grey level on: flat areas then give steady bits
PARTS = 8  # of 16 bits
NEIGHBOURS = 8
BITS = 24  # of 128, in which a candidate pair may differ
DIFFERENCE = 4  # a pair's thumbnails may differ by one part in so many of their contrast
STRICT = 10  # … where pictures look alike by nature: they have
PARTNERS = 2  # over so many pairs a picture concerned,
SPREAD = 10  # and over so many pairs for each that the strict rule would keep
UNIT = 256  # mean contrast of a thumbnail that is compared
FLAT = FINE  # mean contrast (one grey level) below which there is nothing to compare
MOST_IMAGES = 200_000  # of more, nothing is looked for: the thumbnails would fill the memory
BLOCK = 2**22  # pixels that are worked on at once


def near_pairs(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs of positions in `rows` (P × 2, the smaller first) whose pictures are nearly, or entirely, the same.

    `images`: N × H × W × C uint8, of which `rows` are looked at. Pictures smaller than 18 pixels, and more than
    `MOST_IMAGES` of them, give no pairs.
    """
    if min(images.shape[1:3]) < SMALLEST or not 2 <= len(rows) <= MOST_IMAGES:
        return np.zeros((0, 2), dtype=np.int64)
    thumbnails = _thumbnails(images, rows)
    hashes = _hashes(thumbnails)
    pairs = np.concatenate([*_candidates(hashes), np.zeros((0, 2), dtype=np.int64)])
    encoded = np.unique(pairs.min(axis=1) * len(rows) + pairs.max(axis=1))
    return _alike(np.column_stack(np.divmod(encoded, len(rows))), _standardized(thumbnails))


def _thumbnails(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """N × 18 × 18 int16: mean brightness of each cell in sixteenths of a grey level."""
    _, height, width, channels = images.shape
    down, right = _cells(height), _cells(width)
    counts = down.sum(axis=1)[:, None] * right.sum(axis=1)[None, :]
    result = np.empty((len(rows), CELLS, CELLS), dtype=np.int16)
    step = max(1, BLOCK // (height * width))
    for start in range(0, len(rows), step):
        block = np.asarray(images[rows[start : start + step]])
        grey = block[..., 0]
        if channels == 3:
            red, green, blue = (block[..., channel].astype(np.uint32) for channel in range(3))
            grey = (299 * red + 587 * green + 114 * blue) // 1000  # ITU-R 601 luma
        # Sums of whole numbers far below 2^53 are exact in float64, in whatever order they are added.
        sums = down @ grey.astype(np.float64) @ right.T
        result[start : start + step] = np.floor(FINE * sums / counts)
    return result


def _cells(length: int) -> np.ndarray:
    """18 × `length`: which pixels of a side belong to which cell."""
    cell = np.arange(length) * CELLS // length
    return np.asarray(cell[None, :] == np.arange(CELLS)[:, None], dtype=np.float64)


def _hashes(thumbnails: np.ndarray) -> np.ndarray:
    """N × 8 uint16: the parts of each hash."""
    half = thumbnails.astype(np.int32).reshape(len(thumbnails), CELLS // 2, 2, CELLS // 2, 2).sum(axis=(2, 4))
    to_the_right = np.diff(half, axis=2)[:, :8] > 4 * MARGIN
    downwards = np.diff(half, axis=1)[:, :, :8] > 4 * MARGIN
    bits = np.concatenate([to_the_right.reshape(-1, 64), downwards.reshape(-1, 64)], axis=1)
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u2").astype(np.uint16)


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of positions whose hashes agree in one part and differ in at most `BITS` bits."""
    ones = np.array([value.bit_count() for value in range(2**16)], dtype=np.uint8)
    for part in range(PARTS):
        others = [hashes[:, (part + shift) % PARTS] for shift in range(PARTS - 1, 0, -1)]
        order = np.lexsort([*others, hashes[:, part]])
        for distance in range(1, NEIGHBOURS + 1):
            first, second = order[:-distance], order[distance:]
            same = hashes[first, part] == hashes[second, part]
            if not same.any():
                break
            first, second = first[same], second[same]
            near = ones[hashes[first] ^ hashes[second]].sum(axis=1) <= BITS
            yield np.column_stack([first[near], second[near]])


def _standardized(thumbnails: np.ndarray) -> np.ndarray:
    """N × 324 int16: thumbnails less their mean, and stretched to one contrast; zeros where there is hardly any."""
    result = np.empty((len(thumbnails), CELLS**2), dtype=np.int16)
    step = BLOCK // CELLS**2
    for start in range(0, len(thumbnails), step):
        values = thumbnails[start : start + step].reshape(-1, CELLS**2).astype(np.int64)
        values -= values.sum(axis=1, keepdims=True) // CELLS**2
        contrast = np.abs(values).sum(axis=1, keepdims=True)
        stretched = UNIT * CELLS**2 * values // np.maximum(contrast, 1)
        stretched[contrast[:, 0] < FLAT * CELLS**2] = 0
        result[start : start + step] = np.clip(stretched, -(2**14) + 1, 2**14 - 1)  # differences fit, too
    return result


def _alike(pairs: np.ndarray, standardized: np.ndarray) -> np.ndarray:
    """Those pairs whose thumbnails differ little compared with their contrast."""
    difference = np.zeros(len(pairs), dtype=np.int64)
    step = BLOCK // CELLS**2
    for start in range(0, len(pairs), step):
        first, second = (standardized[side] for side in pairs[start : start + step].T)
        known = first.any(axis=1) & second.any(axis=1)
        different = np.abs(first - second).sum(axis=1, dtype=np.int64)
        difference[start : start + step] = np.where(known, different, UNIT * CELLS**2)
    near = pairs[difference <= UNIT * CELLS**2 // DIFFERENCE]
    nearest = pairs[difference <= UNIT * CELLS**2 // STRICT]
    by_nature = len(near) > PARTNERS * len(np.unique(near)) and len(near) > SPREAD * len(nearest)
    return nearest if by_nature else near
