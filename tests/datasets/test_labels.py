"""Tables as people have them: labels that are none, paths that lead elsewhere; every setting that is proposed works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from improve.config.compose import config_from
from improve.datasets import check_source, prepare
from improve.datasets.labels import folded, spelt_alike
from improve.errors import DataError

COUNT = 40


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/0.png … pictures/39.png."""
    folder = tmp_path_factory.mktemp("my tables") / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder.parent


def write(images: Path, header: str, row: Callable[[int], str], count: int = COUNT) -> Path:
    path = images / "table.csv"
    path.write_text("\n".join([header, *map(row, range(count))]) + "\n")
    return path


def settings(path: Path, *given: str) -> list[str]:
    return ["dataset=csv", f"dataset.path={path}", "dataset.image_size=8", *given]


def refused(path: Path, *given: str) -> DataError:
    with pytest.raises(DataError) as caught:
        check_source(config_from(settings(path, *given)).dataset, path.parent / "cache")
    return caught.value


def count(path: Path, *given: str) -> int:
    dataset = prepare(config_from(settings(path, *given)).dataset, path.parent / "cache", lambda line: None)
    return sum(dataset.counts.values())


CASES: dict[str, tuple[str, Callable[[int], str], list[str], str, list[str], int]] = {
    "nan": (
        "path,label",
        lambda n: f"pictures/{n}.png,{'nan' if n < 4 else 'ab'[n % 2]}",
        [],
        "labels that read like missing values: 'nan' (4 images)",
        ["dataset.unlabelled=skip", "dataset.accept=[missing_labels]"],
        36,
    ),
    "none": (
        "path,label",
        lambda n: f"pictures/{n}.png,{'None' if n < 8 else 'ab'[n % 2]}",
        [],
        "'None' (8 images)",
        ["dataset.unlabelled=skip", "dataset.accept=[missing_labels]"],
        32,
    ),
    "empty": (
        "path,label",
        lambda n: f"pictures/{n}.png,{'' if n < 4 else 'ab'[n % 2]}",
        [],
        "4 of 40 rows of",
        ["dataset.unlabelled=skip"],
        36,
    ),
    "spelling": (
        "path,label",
        lambda n: f"pictures/{n}.png,{['Cat', 'cat ', 'hot dog', 'hot_dog'][n % 4]}",
        [],
        "differ in spelling alone: 'Cat' (10 images) = 'cat' (10 images)",
        ["dataset.accept=[similar_classes]"],
        40,
    ),
    "full-width": (
        "path,label",
        lambda n: f"pictures/{n}.png,{['Ｃat', 'Cat', 'dog', '犬'][n % 4]}",
        [],
        "differ in spelling alone",
        ["dataset.accept=[similar_classes]"],
        40,
    ),
    "no extension": ("path,label", lambda n: f"pictures/{n},{'ab'[n % 2]}", [], "", [], 40),
    "Windows": ("path,label", lambda n: rf"pictures\{n}.png,{'ab'[n % 2]}", [], "", [], 40),
    "ids in another folder": (
        "id,label",
        lambda n: f"{n},{'ab'[n % 2]}",
        ["dataset.path_column=id"],
        "40 of 40 image files do not exist",
        ["dataset.image_root={images}/pictures"],
        40,
    ),
    "another machine": (
        "path,label",
        lambda n: rf"C:\Users\me\data\pictures\{n}.png,{'ab'[n % 2]}",
        [],
        "40 of 40 image files do not exist",
        ["dataset.image_root={images}"],
        40,
    ),
    "another machine, no Windows": (
        "path,label",
        lambda n: f"/kaggle/input/x/pictures/{n}.png,{'ab'[n % 2]}",
        [],
        "40 of 40 image files do not exist",
        ["dataset.image_root={images}"],
        40,
    ),
    "one-hot": (
        "path,melanoma,nevus,other kind",
        lambda n: f"pictures/{n}.png,{n % 3 == 0:d}.0,{n % 3 == 1:d}.0,{n % 3 == 2:d}.0",
        [],
        "3 columns of 0 and 1",
        ["dataset.label_columns=[melanoma,nevus,other kind]"],
        40,
    ),
    "several hot": (
        "path,wet,dark",
        lambda n: f"pictures/{n}.png,{n % 2},{n // 2 % 2}",
        [],
        "several of which are 1 in the same row",
        ["dataset.label_column=wet", "dataset.label_column=dark"],
        40,
    ),
    "measured": (
        "path,label,kind",
        lambda n: f"pictures/{n}.png,{(n % 18) * 0.37:.2f},{'ab'[n % 2]}",
        [],
        "18 different numbers from 0 to 6.29",
        ["dataset.label_column=kind"],
        40,
    ),
    "ids as labels": (
        "path,label,kind",
        lambda n: f"pictures/{n}.png,p{n},{'ab'[n % 2]}",
        [],
        "40 different values in 40 rows",
        ["dataset.label_column=kind"],
        40,
    ),
    "several labels": (
        "path,label",
        lambda n: f"pictures/{n}.png,{['a', 'b', 'a|b', 'b'][n % 4]}",
        [],
        "several labels for one image, such as 'a|b'",
        ["dataset.accept=[several_labels]"],
        40,
    ),
    "columns of other names": (
        "file,diagnosis",
        lambda n: f"pictures/{n}.png,{'ab'[n % 2]}",
        [],
        "has no column 'path'",
        [],
        40,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_settings_that_are_proposed_work(images: Path, case: str) -> None:
    header, row, given, what, fixes, expected = CASES[case]
    path = write(images, header, row)
    if not what:
        assert count(path, *given) == expected
        return
    error = refused(path, *given)
    assert what in error.what
    assert "folder" not in error.fix or "image_root" in error.fix, "a table has no class folders"
    for fix in fixes:
        text = shlex.quote(fix.format(images=images))
        assert text in error.fix, error.fix
        assert count(path, *given, *shlex.split(text)) == (40 if "accept" in fix else expected)


def test_keys_that_nobody_set_are_not_quoted(images: Path) -> None:
    path = write(images, "file,diagnosis", lambda n: f"pictures/{n}.png,{'ab'[n % 2]}")
    first = refused(path)
    assert "path_column=path" not in str(first)
    second = refused(path, "dataset.path_column=file")
    assert "label_column=label" not in str(second)
    (setting,) = re.findall(r"dataset\.label_column=\w+", second.fix)
    assert count(path, "dataset.path_column=file", setting) == COUNT


def test_a_suffix_that_is_more_than_an_extension(images: Path, tmp_path: Path) -> None:
    for file in (images / "pictures").iterdir():
        (tmp_path / "rgb").mkdir(exist_ok=True)
        (tmp_path / "rgb" / f"{file.stem}_rgb.png").write_bytes(file.read_bytes())
    (tmp_path / "table.csv").write_text("path,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(10, 40)))
    fix = refused(tmp_path / "table.csv").fix
    assert f"dataset.image_root={tmp_path}/rgb dataset.image_suffix=_rgb.png" in fix
    given = shlex.split(fix.split(": ", 1)[1])
    assert count(tmp_path / "table.csv", *given) == 30
    assert count(tmp_path / "table.csv", "dataset.image_root=rgb", given[1]) == 30, "beside the table"


def test_test_rows_without_labels_are_left_out(images: Path) -> None:
    path = write(
        images,
        "path,label,split",
        lambda n: f"pictures/{n}.png,{'' if n < 8 else 'ab'[n % 2]},{'test' if n < 8 else 'train'}",
    )
    config = config_from(settings(path, "dataset.split_column=split")).dataset
    dataset = prepare(config, images / "cache", lambda line: None)
    assert sum(dataset.counts.values()) == 32
    (finding,) = [finding for finding in dataset.audit if finding.code == "unlabelled"]
    assert "the rows marked test have no label: 8 images" in finding.what


def test_too_few_images_of_a_class_in_a_table(images: Path) -> None:
    path = write(images, "path,label", lambda n: f"pictures/{n}.png,{'rare' if n < 2 else 'ab'[n % 2]}")
    with pytest.raises(DataError) as caught:
        prepare(config_from(settings(path)).dataset, images / "cache", lambda line: None)
    assert caught.value.fix == f"give each class at least 4 different images, or remove its rows from {path}"


def test_addresses_are_no_files(images: Path) -> None:
    path = write(images, "path,label", lambda n: f"https://example.com/{n}.png,{'ab'[n % 2]}")
    error = refused(path)
    assert "hold addresses, not files (https://example.com/0.png)" in error.what
    assert "dataset.image_root=DIR" in error.fix


@given(st.text(min_size=2), st.text(" _-", max_size=3))
def test_spelling_is_all_that_folding_forgets(name: str, between: str) -> None:
    assert folded(name) == folded(name[:1] + between + name[1:]) or any(map(str.isnumeric, name))
    assert spelt_alike([name, name]) == []
