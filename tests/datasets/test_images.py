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
from improve.pipeline.template.images import UnreadableImage, find_images, load_image


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
    assert np.array_equal(load_image(path, 20, 30, 3), pixels)


def test_whole_factors_average_blocks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    means = pixels.reshape(32, 2, 32, 3).mean(axis=(1, 3))
    assert np.abs(load_image(path, 32, 32, 1)[..., 0] - means).max() <= 0.51


@pytest.mark.parametrize("size", [(7, 5), (200, 300), (33, 128)])
def test_whole_image_is_kept_whatever_the_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(gradient(*size)))
    prepared = load_image(path, 32, 32, 3)
    assert prepared.shape == (32, 32, 3)
    assert prepared.dtype == np.uint8
    # Red grows downwards, green to the right, from edge to edge.
    assert prepared[0, 0, 0] < 40
    assert prepared[-1, 0, 0] > 215
    assert prepared[0, 0, 1] < 40
    assert prepared[0, -1, 1] > 215


def test_shrinking_does_not_alias(tmp_path: Path) -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (101, 50))
    prepared = load_image(saved(tmp_path / "a.png", Image.fromarray(stripes)), 16, 16, 1)
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
    prepared = load_image(path, 16, 16, channels)
    assert prepared.shape == (16, 16, channels)
    expected = np.repeat(np.asarray(grey)[..., None], channels, axis=-1).astype(int)
    assert np.abs(prepared.astype(int) - expected).max() <= 1


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    for name, image in (("rgba.png", Image.fromarray(pixels)), ("p.png", Image.fromarray(pixels).quantize())):
        prepared = load_image(saved(tmp_path / name, image), 8, 8, 3)
        assert prepared[0, 0].tolist() == [255, 0, 0], name
        assert prepared[0, 7].tolist() == [255, 255, 255], name


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        assert load_image(saved(tmp_path / name, Image.fromarray(values)), 1, 4, 1).ravel().tolist() == [0, 1, 128, 255]


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
    prepared = load_image(path, 48, 32, 1)[..., 0].astype(int)
    assert np.abs(prepared - upright)[8::16, 8::16].max() < 5
    picture = rule.decode(path, 48, 32)
    assert (picture.height, picture.width, picture.format) == (48, 32, "JPEG")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_first_frame_of_an_animation(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50)
    red, green, blue = load_image(tmp_path / name, 16, 16, 3).mean(axis=(0, 1))
    assert red > 240
    assert max(green, blue) < 15


def test_large_jpeg_is_close_to_its_full_decoding(tmp_path: Path) -> None:
    """Decoding at a fraction of the size must not lose detail that the target can show."""
    small = np.random.default_rng(0).integers(60, 200, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / "a.jpg", Image.fromarray(np.kron(small, np.ones((4, 4), np.uint8))), quality=95)
    assert np.abs(load_image(path, 64, 64, 1)[..., 0].astype(int) - small).max() < 8


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
            load_image(source, 32, 32, 3)
    assert time.monotonic() - started < 2


def test_floating_point_pixels_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)))
    with pytest.raises(UnreadableImage, match="16 bits"):
        load_image(path, 8, 8, 1)
    for missing in (tmp_path, tmp_path / "nothing.png"):
        with pytest.raises(UnreadableImage, match="not a file"):
            load_image(missing, 8, 8, 1)


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
                assert load_image(io.BytesIO(bytes(damaged)), 8, 8, 3).shape == (8, 8, 3)
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
    program = "import sys, images; print(images.load_image('a.png', 3, 3, 1).shape, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["(3,", "3,", "1)", "False"]
