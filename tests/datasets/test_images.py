"""The one rule that turns files into pixels: every kind of file that people have, and all that must be refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from improve.pipeline.template import images as rule
from improve.pipeline.template.images import Preparation, UnreadableImage, find_images, load_image


def gradient(height: int, width: int) -> np.ndarray:
    """A colour image whose corners all differ: height × width × 3 uint8."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y // (height - 1), 255 * x // (width - 1), np.full_like(x, 40)], axis=-1).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_pixels_of_the_right_size_are_kept(tmp_path: Path) -> None:
    pixels = gradient(20, 30)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(load_image(path, Preparation(20, 30, 3)), pixels)


def test_whole_factors_average_blocks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    means = pixels.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(load_image(path, Preparation(32, 32, 1))[..., 0] - means).max() <= 0.51


@pytest.mark.parametrize("size", [(7, 5), (200, 300), (33, 128)])
def test_whole_image_is_kept_whatever_the_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(gradient(*size)))
    prepared = load_image(path, Preparation(32, 32, 3))
    assert prepared.shape == (32, 32, 3)
    assert prepared.dtype == np.uint8
    # Red grows downwards, green to the right, from edge to edge.
    assert prepared[0, 0, 0] < 40
    assert prepared[-1, 0, 0] > 215
    assert prepared[0, 0, 1] < 40
    assert prepared[0, -1, 1] > 215


def test_shrinking_does_not_alias(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (101, 50))
    prepared = load_image(saved(tmp_path / "a.png", Image.fromarray(stripes)), Preparation(16, 16, 1))
    assert np.abs(prepared.astype(int) - 127).max() < 30


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "PA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    grey = Image.fromarray(np.where(np.mgrid[0:16, 0:16][1] < 8, 0, 255).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB").convert("P").convert("PA") if mode == "PA" else grey.convert(mode)
    path = saved(tmp_path / "a.tiff", image)
    prepared = load_image(path, Preparation(16, 16, channels))
    assert prepared.shape == (16, 16, channels)
    expected = np.repeat(np.asarray(grey)[..., None], channels, axis=-1).astype(int)
    assert np.abs(prepared.astype(int) - expected).max() <= 1


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    for name, image in (("rgba.png", Image.fromarray(pixels)), ("p.png", Image.fromarray(pixels).quantize())):
        prepared = load_image(saved(tmp_path / name, image), Preparation(8, 8, 3))
        assert prepared[0, 0].tolist() == [255, 0, 0], name
        assert prepared[0, 7].tolist() == [255, 255, 255], name


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        prepared = load_image(saved(tmp_path / name, Image.fromarray(values)), Preparation(1, 4, 1))
        assert prepared.ravel().tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.kron(np.array([[0, 80], [160, 240], [40, 120]], dtype=np.uint8), np.ones((16, 16), np.uint8))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, quality=95)
    prepared = load_image(path, Preparation(48, 32, 1))[..., 0].astype(int)
    assert np.abs(prepared - upright)[8::16, 8::16].max() < 5
    picture = rule.decode(path, Preparation(48, 32, 1))
    assert (picture.height, picture.width, picture.format) == (48, 32, "JPEG")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_first_frame_of_an_animation(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50)
    red, green, blue = load_image(tmp_path / name, Preparation(16, 16, 3)).mean(axis=(0, 1))
    assert red > 240
    assert max(green, blue) < 15


def test_large_jpeg_is_close_to_its_full_decoding(tmp_path: Path) -> None:
    """Decoding at a fraction of the size must not lose detail that the target can show."""
    small = np.random.default_rng(0).integers(60, 200, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / "a.jpg", Image.fromarray(np.kron(small, np.ones((4, 4), np.uint8))), quality=95)
    assert np.abs(load_image(path, Preparation(64, 64, 1))[..., 0].astype(int) - small).max() < 8


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this many pixels and holds almost none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def jpeg(side: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(gradient(side, side)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "0 bytes"),
        (b"this is a text file, not an image\n" * 50, "no image"),
        (jpeg(100)[:800], "decoded"),
        (png_header(64, 64), "decoded"),
        (png_header(9_000, 9_000), "pixels"),
        (png_header(60_000, 60_000), "decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    ],
    ids=["empty", "text", "truncated", "too few pixels", "bomb", "huge bomb", "postscript"],
)
def test_unreadable_files_are_refused_quickly(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    started = time.monotonic()
    for source in (path, io.BytesIO(content)):
        with pytest.raises(UnreadableImage, match=why):
            load_image(source, Preparation(32, 32, 3))
    assert time.monotonic() - started < 2


def test_floating_point_pixels_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)))
    with pytest.raises(UnreadableImage, match="16 bits"):
        load_image(path, Preparation(8, 8, 1))
    for missing in (tmp_path, tmp_path / "nothing.png"):
        with pytest.raises(UnreadableImage, match="not a file"):
            load_image(missing, Preparation(8, 8, 1))


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_raise_anything_else() -> None:
    """Whatever bytes are flipped, there is an image of the right shape or `UnreadableImage`."""
    random = np.random.default_rng(1)
    refused = 0
    for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"):
        out = io.BytesIO()
        Image.fromarray(gradient(24, 24)).save(out, form)
        for _ in range(60):
            damaged = bytearray(out.getvalue())
            for position in random.integers(0, min(len(damaged), 200), 4):
                damaged[position] = random.integers(256)
            try:
                assert load_image(io.BytesIO(bytes(damaged)), Preparation(8, 8, 3)).shape == (8, 8, 3)
            except UnreadableImage:
                refused += 1
    assert 50 < refused < 480


def test_find_images(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/c/1.png", "a.webp", "notes.txt", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path, tmp_path / "notes.txt"])
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["a.webp", "b/2.JPG", "b/c/1.png", "notes.txt"]


def test_the_file_runs_alone(tmp_path: Path) -> None:
    """It is shipped with a trained pipeline: it needs neither improve nor torch."""
    (tmp_path / "images.py").write_text(Path(rule.__file__).read_text())
    saved(tmp_path / "a.png", Image.fromarray(gradient(9, 9)))
    program = (
        "import sys, images as i; print(i.load_image('a.png', i.Preparation(3, 3, 1)).shape, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["(3,", "3,", "1)", "False"]


def png16(values: np.ndarray) -> bytes:
    """A PNG with 16 bits a channel of H × W (grey), or H × W × 3 or 4, values."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    colour = {2: 0, 3: 2, 4: 6}[values.shape[-1] if values.ndim == 3 else 2]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("shape", [(4, 256), (4, 256, 3), (4, 256, 4)], ids=["grey", "RGB", "RGBA"])
def test_bits_of_sixteen_are_used_in_full(bits: int, shape: tuple[int, ...]) -> None:
    """A ramp from 0 to the largest value of so many bits becomes one from 0 to 255, in colour files, too."""
    ramp = np.arange(256) * (2**bits - 1) // 255
    values = np.broadcast_to(ramp.reshape(1, 256, *[1] * (len(shape) - 2)), shape).copy()
    if shape[-1] == 4:
        values[..., 3] = 65535  # opaque
    file = io.BytesIO(png16(values))
    first = rule.decode(file, Preparation(4, 256, 3))
    assert first.highest.bit_length() == bits
    prepared = load_image(file, Preparation(4, 256, 3, white=2**bits - 1))
    assert np.abs(prepared[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert len(np.unique(prepared)) >= 255


def test_a_huge_jpeg_is_decoded_small(tmp_path: Path) -> None:
    """Ninety megapixels, in a process that may not have the memory for all of them."""
    small = Image.fromarray(gradient(90, 100))
    saved(tmp_path / "a.jpg", small.resize((10_000, 9_000)), quality=50)
    program = f"""
import sys
sys.path.insert(0, {str(Path(rule.__file__).parent)!r})
import numpy, resource, images
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120 * 2**20,) * 2)
print(images.load_image("a.jpg", images.Preparation(90, 100, 3)).mean(axis=(0, 1)).round().tolist())
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = np.asarray(small).mean(axis=(0, 1))
    assert np.abs(np.array(eval(result.stdout)) - expected).max() < 2  # a list of numbers that we printed
    picture = rule.decode(tmp_path / "a.jpg", Preparation(90, 100, 3))
    assert (picture.width, picture.height) == (10_000, 9_000)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def test_heic_is_named_under_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    rule._register_heif.cache_clear()
    monkeypatch.setattr(rule, "FORMATS", tuple(name for name in rule.FORMATS if name != "HEIF"))
    for name in ("a.heic", "a.jpg", "a"):
        (tmp_path / name).write_bytes(HEIC)
        with pytest.raises(UnreadableImage, match="HEIC photo, which needs `pip install pillow-heif`"):
            load_image(tmp_path / name, Preparation(8, 8, 3))
    rule._register_heif.cache_clear()


def test_heic_is_read_with_its_library(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    rule._register_heif.cache_clear()
    pixels = np.kron(gradient(4, 6), np.ones((16, 16, 1), np.uint8))
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    prepared = load_image(tmp_path / "a.jpg", Preparation(64, 96, 3))
    assert np.abs(prepared.astype(int) - pixels)[8::16, 8::16].max() < 12


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
    ],
)
def test_what_people_take_for_images_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=says):
        load_image(tmp_path / "a.png", Preparation(8, 8, 3))
