"""A folder of labelled images: what is understood, what is refused at once, and what is said about it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from improve.config.invocation import install_extra
from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, prepare
from improve.errors import DataError
from improve.pipeline.template import images as rule

NOISE = np.random.default_rng(0)


def put(path: Path, seed: int, size: tuple[int, int] = (12, 10), colour: bool = True) -> Path:
    """Writes a random image that depends on `seed` alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if colour else size
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def class_folders(root: Path, classes: dict[str, int], first_seed: int = 0) -> Path:
    """Class folders with so many different images each."""
    seed = first_seed
    for name, count in classes.items():
        for number in range(count):
            put(root / name / f"{number}.png", seed)
            seed += 1
    return root


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Dataset]:
    """Prepares a folder with its own cache."""

    def open_folder(path: Path, **values: object) -> Dataset:
        config = DatasetConfig(name="mine", source="folder", path=str(path), **values)  # type: ignore[arg-type]
        return prepare(config, tmp_path / "cache", lambda line: None)

    return open_folder


def test_one_folder_for_each_class(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = class_folders(tmp_path / "images", {"cat": 40, "dog": 60})
    dataset = opened(root, image_size=8, description="  Pets. ")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.counts == {"train": 68, "selection": 12, "test": 20}
    assert (dataset.height, dataset.width, dataset.channels) == (8, 8, 3)
    images = np.load(dataset.train_folder / "images.npy", mmap_mode="r")
    labels = np.load(dataset.train_folder / "labels.npy")
    assert (images.shape, images.dtype, labels.dtype) == ((68, 8, 8, 3), np.uint8, np.int64)
    assert np.bincount(labels).tolist() == list(dataset.images_per_class) == [27, 41]
    assert dataset.mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), abs=1e-6)
    assert dataset.std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-6)
    card = yaml.safe_load(dataset.card())
    assert card["description"] == "Pets."
    assert card["task"] == "2-class image classification"
    assert card["counts"] == dict(dataset.counts)
    assert card["images_per_class"] == {"min": 27, "median": 34, "max": 41}
    assert card["imbalance"] == 1.52
    assert card["original"]["height"] == {"min": 12, "median": 12, "max": 12}
    assert card["original"]["formats"] == {"PNG": 68}
    assert card["pixels"]["kind"] == "colour"


def test_labels_belong_to_their_images(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    """Each class has its own colour: in every split the hidden label must be the colour's."""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, colour in colours.items():
        for number in range(30):
            pixels = np.full((8, 8, 3), colour, dtype=np.uint8)
            pixels[0, 0] = number  # so that no two are equal
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    dataset = opened(tmp_path / "images", image_size=8)
    splits = [(np.load(dataset.train_folder / "images.npy"), np.load(dataset.train_folder / "labels.npy"))]
    splits += [(np.load(dataset.inputs_folder(s) / "images.npy"), dataset.labels(s)) for s in ("selection", "test")]
    for images, labels in splits:
        found = [colours[dataset.class_names[label]] for label in labels]
        assert np.array_equal(images[:, 4, 4], np.array(found))
        assert not np.array_equal(labels, np.sort(labels))  # not in the order of the classes
    assert [len(labels) for _, labels in splits] == list(dataset.counts.values())


@pytest.mark.parametrize(
    ("folders", "counts", "note"),
    [
        (("train", "val", "test"), {"train": 40, "selection": 20, "test": 30}, "selection and test"),
        (("train", "validation"), {"train": 34, "selection": 6, "test": 20}, "the test images came"),
        (("Train", "TEST"), {"train": 34, "selection": 6, "test": 30}, "the test images came"),
        (("train",), {"train": 27, "selection": 5, "test": 8}, ""),
    ],
    ids=["train val test", "train val", "train test", "train"],
)
def test_given_splits_follow_the_paper(
    tmp_path: Path, opened: Callable[..., Dataset], folders: tuple[str, ...], counts: dict[str, int], note: str
) -> None:
    sizes = {"train": 20, "val": 10, "validation": 10, "test": 15}
    for number, name in enumerate(folders):
        class_folders(tmp_path / "i" / name, dict.fromkeys(("a", "b"), sizes[name.lower()]), first_seed=1000 * number)
    dataset = opened(tmp_path / "i", image_size=8)
    assert dataset.counts == counts
    assert note in " ".join(dataset.findings)


def test_copies_of_test_images_leave_the_training_images(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = tmp_path / "images"
    class_folders(root / "train", {"a": 20, "b": 20})
    class_folders(root / "test", {"a": 10, "b": 10}, first_seed=1000)
    shutil.copy(root / "test" / "a" / "3.png", root / "train" / "a" / "copy.png")
    Image.open(root / "test" / "b" / "4.png").save(root / "train" / "b" / "same pixels.bmp")
    dataset = opened(root)
    assert sum(dataset.counts.values()) == 60
    assert dataset.counts["test"] == 20
    assert any(finding.startswith("images of the given splits that are not used: 2 ") for finding in dataset.findings)


def test_the_same_picture_under_two_labels_is_reported(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = class_folders(tmp_path / "images", {"a": 20, "b": 20})
    shutil.copy(root / "a" / "3.png", root / "b" / "again.png")
    dataset = opened(root)
    assert "pictures that occur under more than one class: 1" in dataset.findings
    assert "again.png (b)" in dataset.details[0]
    assert "3.png (a)" in dataset.details[0]
    assert "again.png" not in dataset.card()  # the card says nothing about single images


def test_odd_names_nested_folders_and_other_files(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = tmp_path / "my images"
    class_folders(root, {"naïve – 猫 \n": 20, "two  words": 20, "train": 20})
    put(root / "two  words" / "deep" / "er" / "x.JPEG", 900)
    for name in ("README.txt", "train/labels.csv", "train/Thumbs.db", "train/.DS_Store", "train/._0.png"):
        (root / name).write_text("no image")
    (root / "__MACOSX").mkdir()
    (root / ".git").mkdir()
    os.symlink(root / "train", root / "train" / "loop")
    Path(os.fsdecode(os.fsencode(root / "train") + b"/caf\xe9.png")).write_bytes(
        (root / "train" / "0.png").read_bytes()
    )
    dataset = opened(root)
    assert dataset.class_names == ("naïve – 猫 \n", "train", "two  words")
    assert sum(dataset.counts.values()) == 62
    assert "entries that are no images, ignored: 5 (" in dataset.findings[0]
    assert yaml.safe_load(dataset.card())["classes"] == list(dataset.class_names)


def test_composed_and_decomposed_names_are_the_same_class(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    """Archives made on a Mac spell é as two characters."""
    class_folders(tmp_path / "i" / "train", {"caf\u00e9": 10, "tea": 10})
    class_folders(tmp_path / "i" / "test", {"cafe\u0301": 5, "tea": 5}, first_seed=100)
    assert opened(tmp_path / "i").class_names == ("caf\u00e9", "tea")


def test_mixed_sizes_modes_and_formats(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = class_folders(tmp_path / "images", {"a": 10, "b": 10})
    grey = np.random.default_rng(5).integers(0, 256, (40, 90), dtype=np.uint8)
    Image.fromarray(grey).save(root / "a" / "grey.jpg")
    Image.fromarray(grey).convert("RGBA").save(root / "a" / "alpha.webp")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "b" / "16.tif")
    Image.fromarray(grey).convert("CMYK").save(root / "b" / "cmyk.jpg")
    dataset = opened(root, image_size=16)
    assert (dataset.channels, sum(dataset.counts.values())) == (3, 24)


@pytest.mark.parametrize(("channels", "expected"), [(None, 1), (3, 3), (1, 1)])
def test_grey_only_if_every_image_is_grey(
    tmp_path: Path, opened: Callable[..., Dataset], channels: int | None, expected: int
) -> None:
    for number in range(24):
        path = put(tmp_path / "i" / "ab"[number % 2] / f"{number}.png", number, colour=False)
        if number == 3:  # grey, but stored as RGB
            Image.open(path).convert("RGB").save(path)
    dataset = opened(tmp_path / "i", channels=channels)
    images = np.load(dataset.train_folder / "images.npy")
    assert dataset.channels == images.shape[-1] == len(dataset.mean) == expected
    assert (images == images[..., :1]).all()


@pytest.mark.parametrize(("size", "expected"), [((30, 50), 50), ((200, 150), 150), ((300, 400), 224)])
def test_small_images_are_not_blown_up(
    tmp_path: Path, opened: Callable[..., Dataset], size: tuple[int, int], expected: int
) -> None:
    for number in range(16):
        put(tmp_path / "i" / "ab"[number % 2] / f"{number}.png", number, size=size)
    assert opened(tmp_path / "i").height == expected


def make(root: Path, *names: str, count: int = 12) -> None:
    class_folders(root, dict.fromkeys(names, count), first_seed=int(NOISE.integers(1_000_000)))


def corrupt(root: Path) -> None:
    make(root, "a", "b")
    (root / "a" / "0.png").write_bytes(b"")
    (root / "a" / "1.png").write_text("not an image")
    (root / "b" / "2.png").write_bytes((root / "b" / "2.png").read_bytes()[:150])
    os.mkfifo(root / "b" / "pipe.png")
    os.symlink("nowhere", root / "b" / "link.png")
    (root / "b" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")


REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a file": (lambda root: root.write_text("x"), "is a file, not a folder", "class folders"),
    "nothing in it": (lambda root: root.mkdir(), "has no class folders", "named after the class"),
    "images without classes": (lambda root: put(root / "a.png", 0), "has no class folders", "named after the class"),
    "one class": (lambda root: make(root, "only"), "one class folder only", "each further class"),
    "one level too high": (lambda root: make(root / "data", "a", "b"), "one class folder only", "images/data"),
    "an empty class": (
        lambda root: (make(root, "a", "b"), (root / "c").mkdir()),
        "hold no images: 'c'",
        "remove the folder",
    ),
    "too few images": (lambda root: (make(root, "a", "b"), make(root, "c", count=3)), "'c' \\(3\\)", "at least 4"),
    "a class that test lacks": (
        lambda root: (make(root / "train", "a", "b", "c"), make(root / "test", "a", "b")),
        "test/ has no 'c'",
        "same class folders",
    ),
    "a class that train lacks": (
        lambda root: (make(root / "train", "a", "b"), make(root / "val", "a", "b", "c")),
        "train/ has no 'c'",
        "same class folders",
    ),
    "val twice": (
        lambda root: [make(root / name, "a", "b") for name in ("train", "val", "valid")],
        "both val/ and valid/",
        "rename",
    ),
    "unreadable files": (
        corrupt,
        "6 of 27 image files cannot be read: .*0.png is empty.*and 1 more.",
        "unreadable=skip",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_sentence_and_a_fix(tmp_path: Path, opened: Callable[..., Dataset], case: str) -> None:
    build, what, fix = REFUSED[case]
    build(tmp_path / "images")
    started = time.monotonic()
    with pytest.raises(DataError, match=what) as caught:
        opened(tmp_path / "images")
    assert fix in caught.value.fix
    assert time.monotonic() - started < 2
    assert not list(tmp_path.glob("cache/*/")), "nothing half-made is left"


def test_each_reason_is_told_once(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    make(tmp_path / "images", "a", "b", count=20)
    for number in range(9):
        (tmp_path / "images" / "a" / f"{number}.jpg").write_bytes(b"<!doctype html>")
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "images")
    assert caught.value.what.count("is a web page") == 1
    assert "is a web page, not an image, and 8 more" in caught.value.what


def test_photos_that_need_a_library_name_the_command_that_adds_it(
    tmp_path: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "images", "a", "b", count=20)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    (tmp_path / "images" / "a" / "x.jpg").write_bytes(heic)
    with pytest.raises(DataError, match="HEIC photo that is damaged"):
        opened(tmp_path / "images")
    monkeypatch.setattr(rule, "_register_heif", lambda: False)
    with pytest.raises(DataError, match="HEIC photo") as caught:
        opened(tmp_path / "images")
    assert install_extra("heif") in caught.value.fix


def test_files_of_another_kind_are_not_to_be_removed(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    make(tmp_path / "images", "a", "b")
    (tmp_path / "images" / "scans").mkdir()
    (tmp_path / "images" / "scans" / "1.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match=r"hold no images: 'scans'; they hold 1 \.dcm") as caught:
        opened(tmp_path / "images")
    assert "rm " not in caught.value.fix
    assert "convert what they hold" in caught.value.fix


def test_missing_folder_names_the_nearest(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    make(tmp_path / "flowers", "a", "b")
    for wrong, hint in (("flower", "did you mean flowers"), ("flowrs/train", "did you mean flowers")):
        with pytest.raises(DataError, match="does not exist") as caught:
            opened(tmp_path / wrong)
        assert hint in caught.value.fix


def test_unreadable_files_can_be_skipped(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    corrupt(tmp_path / "images")
    dataset = opened(tmp_path / "images", unreadable="skip")
    assert sum(dataset.counts.values()) == 21
    assert "image files that cannot be read, left out: 6 of 27" in dataset.findings
    assert any("link.png cannot be opened" in detail for detail in dataset.details)


def test_names_of_files_have_no_influence(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    """The same images under other names, times and sub-folders are the same dataset, row by row."""
    first = opened(class_folders(tmp_path / "images", {"a": 30, "b": 20}))
    for name, count in (("a", 30), ("b", 20)):
        (tmp_path / "other" / name / "sub").mkdir(parents=True)
        for number, to in enumerate(np.random.default_rng(3).permutation(count)):
            shutil.copyfile(
                tmp_path / "images" / name / f"{number}.png", tmp_path / "other" / name / "sub" / f"{to}.png"
            )
    second = opened(tmp_path / "other")
    assert first.folder != second.folder
    assert first.fingerprint == second.fingerprint
    assert first.record() == second.record()
    assert first.card() == second.card()


def test_a_changed_file_is_noticed(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = class_folders(tmp_path / "images", {"a": 20, "b": 20})
    first = opened(root)
    assert opened(root).folder == first.folder
    put(root / "a" / "0.png", 777)
    second = opened(root)
    assert second.folder != first.folder
    assert second.fingerprint != first.fingerprint
    assert opened(root, split_seed=1).fingerprint != second.fingerprint


def test_many_classes_are_abbreviated_in_the_card(tmp_path: Path, opened: Callable[..., Dataset]) -> None:
    root = class_folders(tmp_path / "images", {f"class {number:03}": 7 for number in range(70)})
    card = yaml.safe_load(opened(root, image_size=4).card())
    assert len(card["classes"]) == 61
    assert card["classes"][-1] == "… and 10 more"
    assert card["task"].startswith("70-class")


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_range_of_16_bit_files_is_that_of_all_of_them(
    tmp_path: Path, opened: Callable[..., Dataset], bits: int
) -> None:
    """Dark images stay darker than others: the whole dataset has one white, which new images get, too."""
    for number in range(24):
        brightest = (2**bits - 1) if number % 2 else (2**bits - 1) // 4
        values = np.random.default_rng(number).integers(0, brightest + 1, (16, 16)).astype(np.uint16)
        values[0, 0] = brightest
        (tmp_path / "i" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(tmp_path / "i" / "ab"[number % 2] / f"{number}.png")
    dataset = opened(tmp_path / "i", image_size=16)
    assert dataset.white == 2**bits - 1
    images = np.load(dataset.train_folder / "images.npy")
    labels = np.load(dataset.train_folder / "labels.npy")
    assert {int(image.max()) for image in images[labels == 1]} == {255}
    assert {int(image.max()) for image in images[labels == 0]} <= {63, 64}
    assert len(np.unique(images)) > 200
    assert any("files of 16 bits use" in finding for finding in dataset.findings) == (bits < 16)
