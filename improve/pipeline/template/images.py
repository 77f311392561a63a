"""How any image file becomes pixels: the one rule for training images and for new images alike.

1. The first frame of an animation; turned upright as its EXIF orientation says.
2. More than 8 bits are scaled to 8: from 0…`white` to 0…255, where `white` is the largest value that so many bits as
   the training images use can hold. Transparency is laid on white; every colour space becomes RGB.
3. Grey (ITU-R 601 luma) if the task has one channel, else RGB.
4. Resized to the task's height and width, by one of three ways to treat other proportions. `crop`: the largest part in
   the middle that has the task's. `pad`: the whole image, filled up with the mean colour of its border. `squash`: the
   whole image, its proportions not kept. A shrink by whole factors takes the mean of each block of pixels, anything
   else is bilinear with antialiasing.

Large JPEG files are decoded at a fraction of their size, never below 1.25 times the target (squash: twice). Needs
Pillow and NumPy alone; HEIC photos, which Pillow cannot read, need pillow-heif.
"""

from __future__ import annotations

import functools
import math
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

RULE = 2  # raised whenever the same file would give other pixels
IMAGE_EXTENSIONS = frozenset(
    (
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".svg", ".tif", ".tiff", ".webp"),
    )
)
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "lost+found")  # that systems leave behind: nobody's images
# What Pillow may try. Not EPS, PDF or WMF, which start other programs; nothing without a signature.
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "AVIF", "HEIF")
MAX_WORDS = 200  # characters of a file's metadata that are kept
MAX_PIXELS = 80_000_000  # that are decoded; a larger image is refused before
# Of a JPEG file that is decoded at a fraction of its size; a progressive one is held as a whole all the same.
MAX_JPEG_PIXELS, MAX_PROGRESSIVE_PIXELS = 300_000_000, 120_000_000
MAX_VALUE = 65535  # of 16 bits
DECODED = {"crop": 1.25, "pad": 1.25, "squash": 2.0}  # a JPEG file's side after decoding, of the target's, at least
# Pillow refuses what is twice as large as this; the limits above are stricter, and know of fractions.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS // 2

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation, to turn a picture upright
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that swap height and width

# How files begin that people take for images.
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
HEIC_PHRASE = "is a HEIC photo, which needs `pip install pillow-heif`, or to be saved as JPEG"
BEGINNINGS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the image itself (`git lfs pull` fetches it)"),
    (b"<!doctype html", "is a web page, not an image"),
    (b"<html", "is a web page, not an image"),
    (b"<svg", "is a drawing (SVG): save it as PNG"),
    (b"<?xml", "is XML, perhaps a drawing (SVG): save it as PNG"),
    (b"%pdf", "is a PDF: save its pages as PNG"),
    (b"8bps", "is a Photoshop file: save it as PNG"),
    (b"\xff\x0a", "is a JPEG XL image: save it as PNG or JPEG"),
    (b"\0\0\0\x0cjxl ", "is a JPEG XL image: save it as PNG or JPEG"),
)

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
class Preparation:
    """What images become: `height × width × channels` (1 or 3); how they are made to fit (`crop`, `pad`, `squash`);

    the value that is `white` in files of more than 8 bits.
    """

    height: int
    width: int
    channels: int
    fit: str = "squash"
    white: int = MAX_VALUE

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> Preparation:
        """As `context.json` says; one that an older version wrote lacks some of it, and means the defaults."""
        stored = context.get("stored")
        height, width = (stored, stored) if stored else (context["height"], context["width"])
        fit, white = context.get("fit", "squash"), context.get("white", MAX_VALUE)
        return cls(height, width, context["channels"], fit, white)


@dataclass(frozen=True)
class Picture:
    """A decoded image: upright, opaque, mode "L" or "RGB". The rest is the file's: size in pixels, `highest`, about

    the largest value if it has more than 8 bits (else 0), and `words`, what its metadata says (camera, description,
    comments), cut short.
    """

    image: Image.Image
    height: int
    width: int
    format: str
    mode: str = ""
    words: str = ""
    highest: int = 0


def find_images(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among `paths` as they are, and the image files in the folders among them, sorted by name.

    Folders are searched as `walk` does. One that cannot be listed is given itself, so that it is told of.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        errors: list[OSError] = []
        for folder, names in walk(path, errors.append):
            yield from (folder / name for name in names if is_image(name))
        yield from (Path(error.filename) for error in errors)


def walk(folder: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[Path, list[str]]]:
    """The folders below `folder`, itself first, each with the names of its files, all sorted.

    Links are followed, but not back to a folder that they lie in, and no folder is entered twice. Hidden folders and
    those that systems leave behind are left out.
    """
    seen: set[tuple[int, int]] = set()
    for place, subfolders, names in os.walk(folder, followlinks=True, onerror=onerror):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        here = Path(place)
        subfolders[:] = sorted(n for n in subfolders if not is_system_folder(n) and not leads_back(here / n))
        yield here, sorted(names)


def leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def is_system_folder(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def is_image(name: str) -> bool:
    """Whether a file is named like an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def load_image(source: Path | str | BinaryIO, to: Preparation) -> np.ndarray:
    """The prepared image, `height × width × channels` uint8. Raises `UnreadableImage`."""
    return to_array(decode(source, to).image, to)


def decode(source: Path | str | BinaryIO, to: Preparation) -> Picture:
    """Steps 1 and 2 of the rule. Raises `UnreadableImage`."""
    if isinstance(source, (str, Path)) and not os.path.isfile(source):
        raise UnreadableImage("is not a file, but a folder" if os.path.isdir(source) else "is not a file")
    try:
        with _open(source) as opened:
            name, mode = opened.format or "unknown", opened.mode
            full_width, full_height = opened.size
            _shrink(opened, to)
            image, highest = _eight_bits(opened, source, to.white)
            exif = opened.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            if orientation in QUARTER_TURNS:
                full_width, full_height = full_height, full_width
            turned = image.transpose(TURNS[orientation]) if orientation in TURNS else image
            words = _words(opened, exif)
            return Picture(_opaque(turned), full_height, full_width, name, mode, words, highest)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_unidentified(source)) from None
    except DAMAGE as error:
        raise UnreadableImage(f"cannot be decoded ({str(error) or type(error).__name__})") from error


def _open(source: Path | str | BinaryIO) -> Image.Image:
    try:
        return Image.open(_from_start(source), formats=formats())
    except UnidentifiedImageError:
        if not (_is_heic(_beginning(source)) and _register_heif()):
            raise
        return Image.open(_from_start(source), formats=formats())


def _from_start(source: Path | str | BinaryIO) -> Path | str | BinaryIO:
    if not isinstance(source, (str, Path)):
        source.seek(0)
    return source


@functools.cache
def _register_heif() -> bool:
    """Lets Pillow read HEIC photos, if pillow-heif is installed; says whether it can."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _shrink(opened: Image.Image, to: Preparation) -> None:
    """Lets a JPEG file be decoded at a fraction of its size. Raises `UnreadableImage` for too many pixels."""
    pixels = opened.width * opened.height
    most = MAX_PIXELS
    if opened.format in ("JPEG", "MPO"):
        most = MAX_PROGRESSIVE_PIXELS if opened.info.get("progressive") else MAX_JPEG_PIXELS
    size = f"has {opened.width} × {opened.height} pixels, more than"
    if pixels > most:
        raise UnreadableImage(f"{size} {most:,}")
    # None: the mode stays.
    opened.draft(None, _least_size(opened, to))
    if opened.width * opened.height > MAX_PIXELS:
        raise UnreadableImage(f"{size} {MAX_PIXELS:,}")


def _least_size(opened: Image.Image, to: Preparation) -> tuple[int, int]:
    """Width and height in pixels below which an image is not decoded. It may still have to be turned by 90 degrees."""
    side = math.ceil(DECODED[to.fit] * max(to.height, to.width))
    if to.fit != "pad":
        return side, side
    longer = max(opened.size)
    return math.ceil(side * opened.width / longer), math.ceil(side * opened.height / longer)


def _words(opened: Image.Image, exif: Image.Exif) -> str:
    """The texts in a file's metadata."""
    found = [value for value in (*exif.values(), *opened.info.values()) if isinstance(value, str)]
    comment = opened.info.get("comment")
    if isinstance(comment, bytes):
        found.append(comment.decode("latin-1"))
    return " ".join(found)[:MAX_WORDS]


def to_array(image: Image.Image, to: Preparation) -> np.ndarray:
    """Steps 3 and 4 of the rule: `height × width × channels` uint8 of an image of mode "L" or "RGB"."""
    height, width = to.height, to.width
    mode = "L" if to.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.width % width == 0 and image.height % height == 0 and _keeps(image, to):
        image = image.reduce((image.width // width, image.height // height))
    elif to.fit == "pad":
        image = _padded(image, height, width)
    else:
        image = image.resize((width, height), Image.Resampling.BILINEAR, _middle(image, to))
    return np.asarray(image, dtype=np.uint8).reshape(height, width, to.channels)


def _keeps(image: Image.Image, to: Preparation) -> bool:
    """Whether the image has the task's proportions, or they do not matter."""
    return to.fit == "squash" or image.width * to.height == image.height * to.width


def _middle(image: Image.Image, to: Preparation) -> tuple[float, float, float, float]:
    """The part of an image that is used: left, top, right and bottom in pixels."""
    if to.fit == "squash":
        return (0, 0, image.width, image.height)
    scale = min(image.width / to.width, image.height / to.height)
    left, top = (image.width - scale * to.width) / 2, (image.height - scale * to.height) / 2
    return (left, top, image.width - left, image.height - top)


def _padded(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole image in the middle of `height × width` pixels of the mean colour of its border."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    inner = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(inner)
    border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    mean = np.concatenate([edge.reshape(-1, len(inner.getbands())) for edge in border]).mean(axis=0)
    colour = tuple(int(value) for value in mean.round())
    result = Image.new(inner.mode, (width, height), colour if len(colour) > 1 else colour[0])
    result.paste(inner, ((width - size[0]) // 2, (height - size[1]) // 2))
    return result


def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this build of Pillow can open."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _beginning(source: Path | str | BinaryIO) -> bytes:
    """The first bytes of a file."""
    if isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            return file.read(512)
    source.seek(0)
    return source.read(512)


def _is_heic(beginning: bytes) -> bool:
    return beginning[4:8] == b"ftyp" and beginning[8:12] in HEIC and b"avif" not in beginning[:64]


def _unidentified(source: Path | str | BinaryIO) -> str:
    """Why Pillow knows no format for a file."""
    beginning = _beginning(source)
    if not beginning:
        return "is empty (0 bytes)"
    if _is_heic(beginning):
        return "is a HEIC photo that is damaged" if _register_heif() else HEIC_PHRASE
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    known = next((phrase for start, phrase in BEGINNINGS if text.startswith(start)), None)
    if known is None and beginning[128:132] == b"DICM":
        known = "is a DICOM file: save it as PNG with 8 or 16 bits"
    return known or "is no image in a known format"


def _eight_bits(opened: Image.Image, source: Path | str | BinaryIO, white: int) -> tuple[Image.Image, int]:
    """The image with 8 bits a channel, and about the largest value that it has with more (0: it has not)."""
    if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
        values = np.asarray(opened)
        if opened.mode == "F" or values.min() < 0 or values.max() > MAX_VALUE:
            raise UnreadableImage(f"has pixels outside of 16 bits (mode {opened.mode}): save it with 8 or 16 bits")
        return Image.fromarray(_scale(white)[values.astype(np.uint16)]), int(values.max())
    swapped = _swapped_bytes(opened)
    if not swapped:
        return opened, 0
    # Pillow keeps the upper byte of each value. The lower one is what it keeps if told that the order is the other one.
    upper = np.asarray(opened)
    highest = 256 * int(upper[..., :3].max()) + 255
    if white == MAX_VALUE:
        return opened, highest
    with _open(source) as again:
        again.tile = swapped  # type: ignore[attr-defined]  # every ImageFile has it
        lower = np.asarray(again)
    values = (upper[..., :3].astype(np.uint16) << 8) | lower[..., :3]
    return Image.fromarray(np.concatenate([_scale(white)[values], upper[..., 3:]], axis=-1)), highest


def _swapped_bytes(opened: Image.Image) -> list[Any]:
    """The parts of a colour image with 16 bits a channel, in the other order of bytes; empty for any other image."""
    if opened.mode not in ("RGB", "RGBA"):
        return []
    swapped = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # N: this machine's own order
    tiles = []
    for tile in getattr(opened, "tile", []):
        raw, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        start, sixteen, order = str(raw).partition(";16")
        if not sixteen or order not in swapped or start not in ("RGB", "RGBA"):
            return []
        changed = f"{start};16{swapped[order]}"
        tiles.append(tile._replace(args=(changed, *rest) if rest else changed))
    return tiles


@functools.cache
def _scale(white: int) -> np.ndarray:
    """65,536 uint8: what each 16-bit value becomes."""
    values = np.arange(MAX_VALUE + 1, dtype=np.uint32)
    return np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8)


def _opaque(image: Image.Image) -> Image.Image:
    """The end of step 2 of the rule: mode "L" or "RGB"."""
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        if image.mode == "La":
            image = image.convert("LA")
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
