"""How any image file becomes pixels: the one rule for training images and for new images alike.

1. The first frame of an animation; turned upright as its EXIF orientation says.
2. 16 bits are scaled to 8 (0…65535 to 0…255); transparency is laid on white; every colour space becomes RGB.
3. Grey (ITU-R 601 luma) if the task has one channel, else RGB.
4. Resized to the task's height and width: the whole image, nothing cut off, proportions not kept. A shrink by whole
   factors takes the mean of each block of pixels, anything else is bilinear with antialiasing.

Large JPEG files are decoded at a fraction of their size, never below twice the target. Needs Pillow and NumPy alone.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

RULE = 1  # raised whenever the same file would give other pixels
IMAGE_EXTENSIONS = frozenset(
    (
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".svg", ".tif", ".tiff", ".webp"),
    )
)
# What Pillow may try. Not EPS, PDF or WMF, which start other programs; nothing without a signature.
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "AVIF")
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap height and width
MAX_WORDS = 200  # characters of a file's metadata that are kept
MAX_PIXELS = 80_000_000  # of the file as its header tells: a larger one is refused before it is decoded

# What Pillow raises on damaged files, by format; a damaged header can break its parsers in any of these ways.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# What Pillow finds odd in a file that it can read (bad EXIF data and the like) would fill the screen.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(ValueError):
    """The file is no image that can be used; the message is one phrase that says why."""


@dataclass(frozen=True)
class Picture:
    """A decoded image: upright, opaque, mode "L" or "RGB". The rest is the file's: size in pixels, and `words`, what

    its metadata says (camera, description, comments), cut short.
    """

    image: Image.Image
    height: int
    width: int
    format: str
    mode: str = ""
    words: str = ""


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among `paths` as they are, and the image files in the folders among them, sorted by name.

    Folders are searched to any depth; hidden files and folders are left out.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield from (
                Path(folder, name)
                for name in sorted(names)
                if Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith(".")
            )


def load_image(source: Path | str | BinaryIO, height: int, width: int, channels: int) -> np.ndarray:
    """The prepared image, `height × width × channels` uint8 (`channels`: 1 or 3). Raises `UnreadableImage`."""
    return to_array(decode(source, height, width).image, height, width, channels)


def decode(source: Path | str | BinaryIO, height: int, width: int) -> Picture:
    """Steps 1 and 2 of the rule, for a later resize to `height × width`. Raises `UnreadableImage`."""
    if isinstance(source, (str, Path)) and not os.path.isfile(source):
        raise UnreadableImage("is not a file")
    try:
        with Image.open(source, formats=formats()) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise UnreadableImage(f"has {opened.width} × {opened.height} pixels, more than {MAX_PIXELS:,}")
            name, mode = opened.format or "unknown", opened.mode
            full_width, full_height = opened.size
            side = 2 * max(height, width)
            opened.draft(None, (side, side))  # None: the mode stays
            exif = opened.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            if orientation in QUARTER_TURNS:
                full_width, full_height = full_height, full_width
            upright = opened if orientation == 1 else ImageOps.exif_transpose(opened)
            return Picture(_opaque(upright), full_height, full_width, name, mode, _words(opened, exif))
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_unidentified(source)) from None
    except DAMAGE as error:
        raise UnreadableImage(f"cannot be decoded ({str(error) or type(error).__name__})") from error


def _words(opened: Image.Image, exif: Image.Exif) -> str:
    """The texts in a file's metadata."""
    found = [value for value in (*exif.values(), *opened.info.values()) if isinstance(value, str)]
    comment = opened.info.get("comment")
    if isinstance(comment, bytes):
        found.append(comment.decode("latin-1"))
    return " ".join(found)[:MAX_WORDS]


def to_array(image: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """Steps 3 and 4 of the rule: `height × width × channels` uint8 of an image of mode "L" or "RGB"."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.width % width == 0 and image.height % height == 0:
        image = image.reduce((image.width // width, image.height // height))
    else:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(height, width, channels)


def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _unidentified(source: Path | str | BinaryIO) -> str:
    """Why Pillow knows no format for a file."""
    size = os.path.getsize(source) if isinstance(source, (str, Path)) else source.seek(0, os.SEEK_END)
    return "is empty (0 bytes)" if size == 0 else "is no image in a known format"


def _opaque(image: Image.Image) -> Image.Image:
    """Step 2 of the rule: mode "L" or "RGB"."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(image)
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        if image.mode == "La":
            image = image.convert("LA")
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey images of more than 8 bits. Only 16-bit integers say where white is; the rest is refused."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UnreadableImage(f"has pixels outside of 16 bits (mode {image.mode}): save it with 8 or 16 bits")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
