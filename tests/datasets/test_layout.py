"""Layouts of folders as people and archives have them: recognised, or refused with what was seen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from improve.config.compose import config_from
from improve.datasets import Dataset, check_source, prepare
from improve.errors import DataError
from improve.pipeline.template.images import find_images

COUNT = 8  # images of a class in a split


def put(path: Path, count: int = COUNT, name: str = "{}.png") -> Path:
    """A folder with so many different images."""
    path.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(abs(hash(str(path))) % 2**32)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path / name.format(number))
    return path


def folders(root: Path, *names: str) -> None:
    for name in names:
        put(root / name)


def opened(root: Path, *settings: str) -> Dataset:
    """The dataset as the command line would have it."""
    given = ["dataset=folder", f"dataset.path={root}", "dataset.image_size=8", *settings]
    return prepare(config_from(given).dataset, root.parent / "cache", lambda line: None)


def refused(root: Path, *settings: str) -> DataError:
    with pytest.raises(DataError) as caught:
        check_source(config_from(["dataset=folder", f"dataset.path={root}", *settings]).dataset, root.parent / "cache")
    return caught.value


RECOGNISED: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "a stray picture in train": (
        lambda r: (folders(r, "train/a", "train/b", "test/a", "test/b"), put(r / "train", 1, "stray.png")),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "stray pictures in all splits": (
        lambda r: (folders(r, "train/a", "train/b", "val/a", "val/b"), put(r / "train", 3), put(r / "val", 2)),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "doubled, with a prefix": (
        lambda r: folders(
            r, "seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a", "seg_test/seg_test/b"
        ),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "with a suffix": (
        lambda r: folders(r, "training_set/training_set/a", "training_set/training_set/b", "test_set/a", "test_set/b"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "spaces and capitals": (
        lambda r: folders(r, "Training Data/a", "Training Data/b", "Testing Data/a", "Testing Data/b"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "all three, of evaluation": (
        lambda r: folders(r, *(f"{s}/{c}" for s in ("training", "validation", "evaluation") for c in "ab")),
        {"train": 16, "selection": 16, "test": 16},
    ),
    "a wrapper around the splits": (
        lambda r: folders(r, "archive/train/a", "archive/train/b", "archive/valid/a", "archive/valid/b"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "images between split and class": (
        lambda r: folders(r, "train/images/a", "train/images/b", "test/images/a", "test/images/b"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "splits inside of classes": (
        lambda r: folders(r, "a/train", "a/test", "b/train", "b/test"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "a class called train": (
        lambda r: folders(r, "train", "bus", "test_tube"),
        {"train": 16, "selection": 3, "test": 5},
    ),
    "all but the test, and the test": (
        lambda r: folders(r, "trainval/a", "trainval/b", "holdout/a", "holdout/b"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "splits with words inside of classes": (
        lambda r: folders(r, "a/Training_set", "a/test_set", "b/Training_set", "b/test_set"),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "classes and a copy of them": (
        lambda r: (folders(r, "a", "b"), shutil.copytree(r, r.parent / "c"), shutil.move(r.parent / "c", r / "i")),
        {"train": 11, "selection": 2, "test": 3},
    ),
    "classes of a split and a copy of them": (
        lambda r: (
            folders(r, "train/a", "train/b"),
            shutil.copytree(r / "train", r / "c"),
            shutil.move(r / "c", r / "train/all"),
        ),
        {"train": 11, "selection": 2, "test": 3},
    ),
    "unlabelled test images": (
        lambda r: (folders(r, "train/a", "train/b"), put(r / "test", 30)),
        {"train": 11, "selection": 2, "test": 3},
    ),
    "unlabelled test images in a folder": (
        lambda r: (
            folders(r, "seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b"),
            put(r / "seg_pred/seg_pred", 9),
        ),
        {"train": 14, "selection": 2, "test": 16},
    ),
    "test images in a folder that is no class": (
        lambda r: (folders(r, "train/a", "train/b"), put(r / "test" / "unknown", 30)),
        {"train": 11, "selection": 2, "test": 3},
    ),
}


@pytest.mark.parametrize("case", RECOGNISED)
def test_layouts_that_are_recognised(tmp_path: Path, case: str) -> None:
    build, counts = RECOGNISED[case]
    build(tmp_path / "i")
    dataset = opened(tmp_path / "i")
    assert dataset.counts == counts
    assert dataset.class_names == (("bus", "test_tube", "train") if "called" in case else ("a", "b"))


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    root = tmp_path / "i"
    RECOGNISED["unlabelled test images"][0](root)
    put(root / "train", 1, "stray.png")
    put(root / "more", 4)
    found = {finding.code: finding for finding in opened(root).audit}
    assert "test/ has 30 images without class folders: they are unlabelled" in found["unlabelled"].what
    assert found["unlabelled"].fix.endswith(f"the command that predicts their classes: its IMAGES are {root / 'test'}")
    assert found["loose"].what.endswith("left out: 1")
    assert found["loose"].severity == "warning"
    assert found["loose"].examples == (str(root / "train" / "stray.png"),)
    assert "more/ beside train/ is not used (4 images)" in found["beside"].what


REFUSED: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "only val and test": (
        lambda r: folders(r, "val/a", "val/b", "test/a", "test/b"),
        "holds test/ and val/, but nothing to train on",
        ("dataset.path={root}/test",),
    ),
    "only test": (lambda r: folders(r, "test/a", "test/b"), "holds test/, but nothing", ("dataset.path={root}/test",)),
    "labels in file names": (
        lambda r: [put(r / s, 12, c + "_{}.jpg") for s in ("training", "validation", "evaluation") for c in "01"],
        "training/ (24 images), validation/ (24 images), evaluation/ (24 images)",
        ("dataset.labels=names",),
    ),
    "labels in file names, test1": (
        lambda r: ([put(r / "train", 20, c + ".{}.jpg") for c in ("cat", "dog")], put(r / "test1")),
        "without class folders",
        ("dataset.labels=names",),
    ),
    "a test folder beside classes": (
        lambda r: folders(r, "a", "b", "test"),
        "holds test/ beside 2 other folders ('a', 'b')",
        ("dataset.labels=folders",),
    ),
    "a whole test split beside classes": (
        lambda r: folders(r, "a", "b", "validation/a", "validation/b"),
        "holds validation/ beside 2 other folders",
        ("dataset.labels=folders",),
    ),
    "two levels": (
        lambda r: folders(r, *(f"fold{n}/{c}" for n in (1, 2, 3) for c in ("cat", "dog"))),
        "holds the same folders ('cat', 'dog')",
        ("dataset.labels=parents", "dataset.labels=folders"),
    ),
    "two levels, a folder missing": (
        lambda r: folders(r, "color/cat", "color/dog", "color/owl", "grey/cat", "grey/dog", "masks/cat", "masks/dog"),
        "holds the same folders ('cat', 'dog')",
        ("dataset.labels=parents", "dataset.labels=folders"),
    ),
    "two levels in a split": (
        lambda r: folders(r, *(f"{s}/{n}/{c}" for s in ("train", "test") for n in "12" for c in ("cat", "dog"))),
        "('1', '2') holds the same folders ('cat', 'dog')",
        ("dataset.labels=parents", "dataset.labels=folders"),
    ),
    "years with splits": (
        lambda r: folders(r, *(f"{y}/{s}/{c}" for y in (2023, 2024) for s in ("train", "test") for c in "ab")),
        "('2023', '2024') holds the same folders ('a', 'b')",
        ("dataset.labels=folders",),
    ),
    "years with one split": (
        lambda r: folders(r, *(f"{y}/train/{c}" for y in (2023, 2024) for c in "ab")),
        "('2023', '2024') holds the same folders ('a', 'b')",
        ("dataset.labels=parents",),
    ),
    "other images in folders of the classes": (
        lambda r: folders(r, "a", "b", "augmented/a", "augmented/b"),
        "holds 'a', 'b', which are folders beside it, too",
        ("dataset.labels=parents", "dataset.labels=folders"),
    ),
    "a test beside splits in a folder": (
        lambda r: folders(r, "new/new/train/a", "new/new/train/b", "new/new/valid/a", "new/new/valid/b", "test/test"),
        "holds test/ beside a folder that holds splits itself",
        ("dataset.path={root}/new/new",),
    ),
    "single folders around the classes": (
        lambda r: folders(r, "archive (1)/raw/a", "archive (1)/raw/b"),
        "one class folder only ('archive (1)')",
        ("dataset.path={root}/archive (1)/raw",),
    ),
    "classes in the names of files in one folder": (
        lambda r: [put(r, 10, c + "_{}.jpg") for c in ("cat", "dog")],
        "no class folders (it holds 20 images itself)",
        ("dataset.labels=names",),
    ),
    "a competition's table": (
        lambda r: (
            put(r / "train_images"),
            put(r / "test_images"),
            (r / "train.csv").write_text(
                "path,label\n" + "".join(f"train_images/{n}.png,{n % 2}\n" for n in range(COUNT))
            ),
            (r / "a_submission.csv").write_text("path,label\n"),
        ),
        "holds train_images/ (8 images), test_images/ (8 images)",
        ("dataset.path={root}/train.csv",),
    ),
    "splits inside of some classes": (
        lambda r: folders(r, "a/train", "a/test", "b"),
        "splits inside of a class, but 'b' not in the same way",
        ("dataset.labels=folders",),
    ),
    "images beside annotations": (
        lambda r: (folders(r, "images/a", "images/b"), (r / "labels").mkdir()),
        "only 'images' holds images",
        ("dataset.path={root}/images",),
    ),
    "two splits": (
        lambda r: folders(r, "a_train/x", "a_train/y", "b_train/x", "b_train/y"),
        "more than one split",
        ("dataset.path={root}/a_train",),
    ),
    "two spellings": (
        lambda r: folders(r, "Hot Dog", "hot_dog", "cat"),
        "differ in spelling alone: 'Hot Dog' (8 images) = 'hot_dog' (8 images)",
        ("dataset.accept=[similar_classes]",),
    ),
    "a missing value": (
        lambda r: folders(r, "nan", "cat", "dog"),
        "'nan' (8 images)",
        ("dataset.accept=[missing_labels]",),
    ),
    "an empty class": (
        lambda r: (folders(r, "a", "b"), (r / "c").mkdir()),
        "hold no images: 'c'",
        (),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layouts_that_are_refused_with_settings_that_work(tmp_path: Path, case: str) -> None:
    """Each of the settings that are proposed leads to a dataset."""
    root = tmp_path / "my images"
    build, what, settings = REFUSED[case]
    build(root)
    error = refused(root)
    assert what in error.what
    for setting in settings:
        text = shlex.quote(setting.format(root=root))
        assert text in error.fix, error.fix
        (given,) = shlex.split(text)
        fixed = [given] if given.startswith("dataset.path") else [f"dataset.path={root}", given]
        source = "csv" if given.endswith(".csv") else "folder"
        dataset = prepare(
            config_from([f"dataset={source}", "dataset.image_size=8", *fixed]).dataset,
            tmp_path / "cache",
            lambda line: None,
        )
        assert len(dataset.class_names) >= 2


def test_what_is_no_folder_of_images_is_named(tmp_path: Path) -> None:
    """Archives with the command that unpacks them, tables of the hub, and images for object detection."""
    for name in ("packed photos", "parquet", "yolo"):
        (tmp_path / name).mkdir()
    folders(tmp_path / "made", "cat", "dog")
    shutil.make_archive(str(tmp_path / "packed photos" / "photos"), "zip", tmp_path / "made")
    error = refused(tmp_path / "packed photos")
    assert "no class folders (it holds 1 .zip)" in error.what
    subprocess.run(["bash", "-c", error.fix.split(": ", 1)[1].split("; else")[0]], check=True)
    assert opened(tmp_path / "packed photos").class_names == ("cat", "dog")

    (tmp_path / "parquet" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    assert f"dataset=hub dataset.path={tmp_path / 'parquet'}" in refused(tmp_path / "parquet").fix

    folders(tmp_path / "yolo", "train/images", "valid/images")
    (tmp_path / "yolo" / "train" / "labels").mkdir()
    for number in range(COUNT):
        (tmp_path / "yolo" / "train" / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.1 0.1")
    error = refused(tmp_path / "yolo")
    assert "object detection" in error.fix
    assert "dataset.path" not in error.fix


def test_which_level_is_taken_for_classes_is_said(tmp_path: Path) -> None:
    folders(tmp_path / "i", "animals/cat", "animals/dog", "vehicles/car", "vehicles/bus")
    (found,) = (finding for finding in opened(tmp_path / "i").audit if finding.code == "nested")
    assert "the classes are the outer folders" in found.what
    assert opened(tmp_path / "i", found.fix.split(": ")[1]).class_names == ("bus", "car", "cat", "dog")


def test_a_folder_with_the_classes_beside_the_splits_is_a_warning(tmp_path: Path) -> None:
    folders(tmp_path / "i", "TRAIN/a", "TRAIN/b", "TEST/a", "TEST/b", "TEST_SIMPLE/a", "TEST_SIMPLE/b")
    (found,) = (finding for finding in opened(tmp_path / "i").audit if finding.code == "beside")
    assert found.severity == "warning"
    assert "TEST_SIMPLE/ beside TRAIN/ is not used (16 images), though it holds the same class folders" in found.what


@pytest.mark.parametrize("case", ["a test folder beside classes", "two spellings", "a missing value", "an empty class"])
def test_commands_that_are_proposed_work(tmp_path: Path, case: str) -> None:
    root = tmp_path / "my images"
    REFUSED[case][0](root)
    fix = refused(root).fix
    command = fix.split(": ", 1)[1].split(";")[0] if "(cd" not in fix else fix.split(": ", 1)[1].split("; if")[0]
    if case == "two spellings":
        # The images of both have the same names: none is overwritten, and those that are left keep the folder.
        for file in (root / "hot_dog").iterdir():
            file.rename(file.with_name(f"other {file.name}"))
    subprocess.run(["bash", "-c", command], check=True)
    assert len(opened(root).class_names) == 2


def test_splits_whose_classes_are_spelt_in_another_way_are_renamed(tmp_path: Path) -> None:
    root = tmp_path / "i"
    folders(root, "train/Cat", "train/dog", "test/cat", "test/dog")
    error = refused(root)
    assert "test/ has no 'Cat' (but 'cat')" in error.what
    subprocess.run(["bash", "-c", error.fix.split(": ", 1)[1]], check=True)
    assert opened(root).class_names == ("Cat", "dog")


def test_letters_in_two_cases_are_two_classes(tmp_path: Path) -> None:
    folders(tmp_path / "i", "a", "A", "b")
    assert opened(tmp_path / "i").class_names == ("A", "a", "b")


def test_labels_from_names_and_parents(tmp_path: Path) -> None:
    for part in ("training", "evaluation"):
        for name in ("0", "great dane"):
            put(tmp_path / "i" / part, 12, name + "_{}.jpg")
    dataset = opened(tmp_path / "i", "dataset.labels=names")
    assert dataset.class_names == ("0", "great dane")
    assert dataset.counts["test"] == 24
    folders(tmp_path / "j", "site1/cat", "site1/dog", "site2/cat", "site2/dog")
    dataset = opened(tmp_path / "j", "dataset.labels=parents")
    assert dataset.class_names == ("cat", "dog")
    assert sum(dataset.counts.values()) == 32


def test_more_images_outside_of_class_folders_than_inside_are_refused(tmp_path: Path) -> None:
    folders(tmp_path / "i", "a", "b")
    put(tmp_path / "i", 20)
    assert "20 images that lie in no class folder" in refused(tmp_path / "i").what


def test_links_are_followed_by_one_rule(tmp_path: Path) -> None:
    """Training and prediction see the same files: through links, but not back, and not into what systems leave."""
    root = tmp_path / "i"
    folders(tmp_path, "elsewhere/cats", "elsewhere/more")
    folders(root, "dog", "dog/__MACOSX", "dog/.hidden")
    os.symlink(tmp_path / "elsewhere/cats", root / "cat")
    os.symlink(tmp_path / "elsewhere/more", root / "dog/more")
    os.symlink(root / "dog", root / "dog/loop")
    os.symlink(root, root / "dog/up")
    assert sum(opened(root).counts.values()) == 3 * COUNT
    found = [path.relative_to(root).as_posix() for path in find_images([root / "cat", root / "dog"])]
    assert len(found) == 3 * COUNT
