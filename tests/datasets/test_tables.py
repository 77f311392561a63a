"""Tables of images: the user's own (dataset=csv), and Kaggle's, in the exact layout of their downloads."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, check_source, prepare
from improve.datasets.source import FREE, SELECTION, TEST, TRAIN, Downloads, Source
from improve.datasets.sources import csv as table_source
from improve.errors import DataError
from tests.support import paths

CONF = paths.CONF / "dataset"
NOWHERE = Downloads(Path("/no/downloads"))


def picture(path: Path, seed: int, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def write_table(folder: Path, header: str, rows: list[str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def config(path: Path, **values: object) -> DatasetConfig:
    return DatasetConfig(name="mine", source="csv", path=str(path), **values)  # type: ignore[arg-type]


def loaded(path: Path, **values: object) -> Source:
    table_source.key(config(path, **values), NOWHERE)
    return table_source.load(config(path, **values), NOWHERE, str)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images/0.png … images/39.png."""
    for number in range(40):
        picture(tmp_path / "images" / f"{number}.png", number)
    return tmp_path


def test_a_table_becomes_a_dataset(images: Path) -> None:
    absolute = images / "images" / "0.png"
    rows = [f"{absolute},cat", *(f"images/{n}.png,{'cat' if n % 2 else 'Hund, groß'!r}" for n in range(1, 40))]
    path = write_table(images, "path,label", [row.replace("'", '"') for row in rows])
    dataset = prepare(config(path), images / "cache", str)
    assert dataset.class_names == ("Hund, groß", "cat")
    assert sum(dataset.counts.values()) == 40
    assert dataset.counts["test"] == 8
    everything = {
        image.tobytes() for s in ("train", "selection", "test") for image in np.load(dataset.folder / s / "images.npy")
    }
    assert everything == {np.asarray(Image.open(images / "images" / f"{n}.png")).tobytes() for n in range(40)}
    assert "not used" not in dataset.card()


def test_given_splits_and_groups(images: Path) -> None:
    rows = [f"images/{n}.png;{n % 2};{('Train', 'val', 'TEST', 'training')[n % 4]};p{n // 4};x" for n in range(40)]
    path = write_table(images, "file;diagnosis;split;patient;note", rows, encoding="utf-8-sig")
    names = {"path_column": "file", "label_column": "diagnosis"}
    source = loaded(path, **names, split_column="split", group_column="patient")
    assert source.class_names == ("0", "1")
    assert source.parts[:4].tolist() == [TRAIN, SELECTION, TEST, TRAIN]
    assert source.groups == [f"p{n // 4}" for n in range(40)]
    assert source.findings == ("columns of the table that are not used: note",)
    source = loaded(path, **names)
    assert set(source.parts.tolist()) == {FREE}
    assert source.groups is None
    assert source.findings == ("columns of the table that are not used: split, patient, note",)


def test_a_validation_set_is_the_test_set_if_there_is_no_other(images: Path) -> None:
    rows = [f"images/{n}.png,{n % 2},{'val' if n < 10 else 'train'}" for n in range(40)]
    source = loaded(write_table(images, "path,label,split", rows), split_column="split")
    assert source.parts[:11].tolist() == [TEST] * 10 + [TRAIN]


def test_a_changed_image_or_table_is_another_dataset(images: Path) -> None:
    path = write_table(images, "path,label", [f"images/{n}.png,{n % 2}" for n in range(40)])
    before = table_source.key(config(path), NOWHERE)
    assert table_source.key(config(path), NOWHERE) == before
    picture(images / "images" / "3.png", 99, side=9)
    after = table_source.key(config(path), NOWHERE)
    assert after != before
    path.write_text(path.read_text() + "images/0.png,1\n")
    assert table_source.key(config(path), NOWHERE) != after


GOOD = [f"images/{n}.png,{n % 2},train" for n in range(4)]
TESTS = [row.replace("train", "test") for row in GOOD]
SPLIT = {"split_column": "split"}


BASIC = [f"images/{n}.png,{'cat' if n % 2 else 'dog'}" for n in range(40)]


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(["path|label", *BASIC]).replace(",", "|").encode(),
        "\n".join(["sep=;", "path;label", *BASIC]).replace(",", ";").encode(),
        "\n".join(["path,label", *BASIC]).encode("utf-16"),
        "\r".join(["path,label", *BASIC]).encode(),
        "\r\n".join(["path,label,note", *(f'{row},"two\r\nlines, one cell"' for row in BASIC)]).encode("utf-8-sig"),
        "\n".join([",path,label", *(f"{n},{row}" for n, row in enumerate(BASIC))]).encode(),
        "\n".join(["path,label", *(row.replace(".png", ".PNG") for row in BASIC)]).encode(),
        "\n".join(["path,label", *(f"file://{{here}}/{row}" for row in BASIC)]).encode(),
    ],
    ids=["bars", "Excel's first line", "UTF-16", "CR", "quoted lines", "an index", "other case", "file addresses"],
)
def test_tables_as_programs_write_them(images: Path, content: bytes) -> None:
    path = images / "table.csv"
    path.write_bytes(content.replace(b"{here}", str(images).encode()))
    source = loaded(path)
    assert source.class_names == ("cat", "dog")
    assert len(source.labels) == 40
    assert not any(str(finding).endswith(": ") for finding in source.findings), "columns without a name are not named"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04\x14\x00", ["is an Excel workbook", "save its sheet as CSV"]),
        (b"PAR1\x15\x04", ["is a Parquet table", "dataset=hub"]),
        (b"\x1f\x8b\x08\x00", ["is compressed", "gunzip -k"]),
        (b'[{"path": "a.png"}]', ["is JSON", "write it as CSV"]),
        ("\n".join(["path,label", "images/0.png,Müll"]).encode("latin-1"), ["no UTF-8 text", "iconv -f WINDOWS-1252"]),
        (b"path,label,label\nimages/0.png,a,b\n", ["2 columns called 'label'"]),
    ],
)
def test_what_is_no_table_as_text_is_named(images: Path, content: bytes, says: list[str]) -> None:
    path = images / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        table_source.key(config(path), NOWHERE)
    for text in says:
        assert text in str(caught.value)


def test_a_table_that_is_not_there_names_the_nearest(images: Path) -> None:
    write_table(images, "path,label", BASIC)
    for name, says in (("tables.csv", "did you mean table.csv"), ("images/table.csv", "images holds no table")):
        with pytest.raises(DataError, match="cannot be opened") as caught:
            table_source.key(config(images / name), NOWHERE)
        assert says in caught.value.fix


def test_commands_that_mend_a_table_work(images: Path) -> None:
    """Names above a table that has none; another encoding."""
    path = images / "my table.csv"
    path.write_text("\n".join(BASIC) + "\n")
    with pytest.raises(DataError, match="has no names of columns") as caught:
        table_source.key(config(path), NOWHERE)
    subprocess.run(["bash", "-c", caught.value.fix.split("for instance: ")[1]], check=True)
    assert len(loaded(path).labels) == 40

    path.write_text(path.read_text().replace("dog", "größer"), encoding="cp1252")
    with pytest.raises(DataError, match="no UTF-8 text") as caught:
        table_source.key(config(path), NOWHERE)
    command, _, given = caught.value.fix.split("Western Europe: ")[1].partition(", and ")
    subprocess.run(["bash", "-c", command], check=True)
    (setting,) = shlex.split(given)
    assert loaded(Path(setting.removeprefix("dataset.path="))).class_names == ("cat", "größer")


@pytest.mark.parametrize(
    ("cells", "values", "fix"),
    [
        ("{}", {"image_suffix": ".jpg"}, {"image_root": "images", "image_suffix": ""}),
        ("{}.p", {"image_suffix": "nn"}, {"image_root": "images", "image_suffix": "ng"}),
        ("x/{}", {"image_root": "images", "image_suffix": "png"}, {"image_root": "images", "image_suffix": ""}),
    ],
)
def test_a_suffix_that_is_wrong_is_corrected(
    images: Path, cells: str, values: dict[str, str], fix: dict[str, str]
) -> None:
    """What is proposed works, and is not what was given."""
    path = write_table(images, "path,label", [f"{cells.format(n)},{n % 2}" for n in range(40)])
    with pytest.raises(DataError) as caught:
        table_source.key(config(path, **values), NOWHERE)
    settings = shlex.split(caught.value.fix.split(": ", 1)[1])
    given = dict(setting.removeprefix("dataset.").split("=", 1) for setting in settings)
    assert given == {key: str(images / value) if key == "image_root" else value for key, value in fix.items()}
    assert len(loaded(path, **given).labels) == 40


def test_paths_that_cannot_be_guessed_show_what_is_there(images: Path) -> None:
    path = write_table(images, "path,label", [f"images/{n:05d}.png,{n % 2}" for n in range(40)])
    with pytest.raises(DataError) as caught:
        table_source.key(config(path), NOWHERE)
    assert "the image files there are called like images/0.png" in caught.value.fix


@pytest.mark.parametrize("joined", ["cat;dog", "cat dog", "cat, dog", "cat & dog", "['cat', 'dog']", "cat+dog"])
def test_several_labels_in_one_cell_are_found(images: Path, joined: str) -> None:
    names = ["['cat']", "['dog']", joined] if joined.startswith("[") else ["cat", "dog", joined]
    path = write_table(images, "path,label", [f'images/{n}.png,"{names[n % 3]}"' for n in range(40)])
    with pytest.raises(DataError, match="several labels for one image"):
        table_source.key(config(path), NOWHERE)
    assert len(loaded(path, accept=["several_labels"]).class_names) == 3


def test_a_name_of_several_words_is_one_label(images: Path) -> None:
    names = ["hot dog", "dog", "cat"]
    path = write_table(images, "path,label", [f"images/{n}.png,{names[n % 3]}" for n in range(40)])
    assert loaded(path).class_names == ("cat", "dog", "hot dog")


@pytest.mark.parametrize("name", ["cat\u200b", "\ufeffcat", "CAT", "cat\u00a0"])
def test_classes_that_look_alike_are_found(images: Path, name: str) -> None:
    names = ["cat", name, "dog"]
    path = write_table(images, "path,label", [f"images/{n}.png,{names[n % 3]}" for n in range(40)])
    if name.strip() == "cat":
        assert loaded(path).class_names == ("cat", "dog")
        return
    with pytest.raises(DataError, match="differ in spelling alone"):
        table_source.key(config(path), NOWHERE)


def test_numbers_as_labels_are_called_quantities(images: Path) -> None:
    path = write_table(images, "path,label", [f"images/{n}.png,{n * 1.37}" for n in range(40)])
    with pytest.raises(DataError) as caught:
        table_source.key(config(path), NOWHERE)
    assert "40 different numbers in 40 rows: these are quantities, not classes" in caught.value.what
    assert "a class for each range" in caught.value.fix


@pytest.mark.parametrize(
    ("header", "rows", "values", "says"),
    [
        (
            "file,label,split",
            GOOD,
            {},
            ["has no column 'path'", "dataset.path_column=file", "valid: file, label, split"],
        ),
        (
            "path,class,split",
            GOOD,
            {},
            ["has no column 'label'", "dataset.label_column=class", "valid: class, path, split"],
        ),
        ("path,label,split", GOOD, {"split_column": "spilt"}, ["dataset.split_column=spilt", "did you mean split"]),
        ("path,label,split", GOOD, {"group_column": "patient"}, ["dataset.group_column=patient", "no such column"]),
        ("path,label,split", [*GOOD, "images/5.png,,train"], {}, ["1 of 5 rows", "'label'", "row 6"]),
        ("path,label,split", [*GOOD, "images/5.png,a"], {}, ["1 of 5 rows", "3 columns", "row 6"]),
        ("path,label,split", [*GOOD, "no.png,1,train", "nor.png,0,train"], {}, ["2 of 6 image files", "no.png"]),
        (
            "path,label,split",
            [*GOOD, "images/5.png,1,middle"],
            {"split_column": "split"},
            ["'middle' (1 rows)", "train, val"],
        ),
        (
            "path,label,split",
            [r.replace("train", "test") for r in GOOD],
            {"split_column": "split"},
            ["No row", "'train'"],
        ),
        ("path,label,split", [], {}, ["no rows below its header"]),
    ],
)
def test_bad_tables_are_refused_at_once(
    images: Path, header: str, rows: list[str], values: dict[str, object], says: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        check_source(config(write_table(images, header, rows), **values), images / "cache")
    for text in says:
        assert text in str(caught.value)
    assert caught.value.fix


def test_files_that_are_no_tables_are_refused(images: Path) -> None:
    (images / "latin.csv").write_bytes("path,label\nimages/0.png,Käfer\n".encode("latin-1"))
    (images / "quotes.csv").write_text('path,label\n"images/0.png,a\n')
    for name, says in (
        ("latin.csv", "no UTF-8 text"),
        ("quotes.csv", "no CSV file that can be read"),
        ("absent.csv", "cannot be opened"),
        ("", "is a folder, not a table"),
    ):
        with pytest.raises(DataError, match=says):
            check_source(config(images / name), images / "cache")


def test_one_class_is_none(images: Path) -> None:
    path = write_table(images, "path,label", [f"images/{n}.png,only" for n in range(40)])
    with pytest.raises(DataError, match="same class"):
        prepare(config(path), images / "cache", str)


def test_missing_files_may_be_skipped(images: Path) -> None:
    path = write_table(images, "path,label", [f"images/{n}.png,{n % 2}" for n in range(44)])
    dataset = prepare(config(path, unreadable="skip"), images / "cache", str)
    assert sum(dataset.counts.values()) == 40
    assert any("left out: 4 of 44" in finding for finding in dataset.findings)


# Kaggle's downloads, unpacked.


def cassava(root: Path) -> None:
    names = {str(n): f"Cassava Disease {n}" for n in range(4)} | {"4": "Healthy"}
    (root / "label_num_to_disease_map.json").write_text(json.dumps(names))
    rows = [f"{1000 + n}.jpg,{n % 5}" for n in range(40)]
    (root / "train.csv").write_text("\n".join(["image_id,label", *rows]))
    for n in range(40):
        picture(root / "train_images" / f"{1000 + n}.jpg", n)
    picture(root / "test_images" / "2216849948.jpg", 77)


def kitchenware(root: Path) -> None:
    names = ("cup", "fork", "glass", "knife", "plate", "spoon")
    rows = [f"{n:04d},{names[n % 6]}" for n in range(48)]
    (root / "train.csv").write_text("\n".join(["Id,label", *rows]))
    (root / "test.csv").write_text("Id\n0048\n")
    for n in range(49):
        picture(root / "images" / f"{n:04d}.jpg", n)


def animals4(root: Path) -> None:
    for number, name in enumerate(("cat", "deer", "dog", "horse")):
        for n in range(10):
            picture(root / "train" / name / f"{name}{n}.jpg", 10 * number + n)
    picture(root / "test" / "test" / "0000.jpg", 77)
    (root / "Sample_submission.csv").write_text("ID,Label\n0,0\n")


def arabic_letters(root: Path) -> None:
    inner = root / "Final_Arabic_Alpha_dataset" / "Final_Arabic_Alpha_dataset"
    for letter in range(3):
        for n in range(10):
            picture(inner / "train" / str(letter) / f"user{n:03d}_heh_middle_{n:03d}.png", 10 * letter + n)
    picture(inner / "test" / "0.png", 77)


LAYOUTS: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "cassava": (cassava, 5, 40),
    "kitchenware": (kitchenware, 6, 48),
    "animals4": (animals4, 4, 40),
    "arabic_letters": (arabic_letters, 3, 30),
}


def competition(name: str, path: Path | None) -> DatasetConfig:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return DatasetConfig(**{**values, "path": path and str(path), "image_size": 8})


def prepared(name: str, root: Path, cache: Path) -> Dataset:
    return prepare(competition(name, root), cache, str)


@pytest.mark.parametrize("name", LAYOUTS)
def test_kaggles_layouts(tmp_path: Path, name: str) -> None:
    write, classes, count = LAYOUTS[name]
    (tmp_path / "download").mkdir()
    write(tmp_path / "download")
    dataset = prepared(name, tmp_path / "download", tmp_path / "cache")
    assert len(dataset.class_names) == classes
    assert sum(dataset.counts.values()) == count, "the images without labels are left out"
    assert dataset.counts["test"] == round(0.2 * count), "80/20"
    if name == "cassava":
        assert dataset.class_names[-1] == "Healthy"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_that_is_something_else_says_where_to_get_the_images(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not hold") as caught:
        check_source(competition(name, tmp_path), tmp_path / "cache")
    assert "https://www.kaggle.com/competitions/" in caught.value.fix
    with pytest.raises(DataError, match="does not exist"):
        check_source(competition(name, tmp_path / "absent"), tmp_path / "cache")


def test_without_kaggles_client_or_a_token_it_is_refused_at_once(tmp_path: Path) -> None:
    """In a process of its own: with the client hidden, and, where it is installed, with an empty home folder."""
    program = """
import sys
from pathlib import Path
if sys.argv[1] == "hidden":
    sys.modules["kaggle"] = None
from improve.config.schema import DatasetConfig
from improve.datasets import check_source
from improve.errors import DataError
try:
    check_source(DatasetConfig(name="c", source="cassava"), Path(sys.argv[2]))
except DataError as error:
    print(error)
"""
    for mode in ("hidden", "as it is"):
        command = [sys.executable, "-c", program, mode, str(tmp_path)]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path[1:])}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        assert "is on Kaggle, and" in result.stdout
        assert "https://www.kaggle.com/competitions/cassava-leaf-disease-classification/data" in result.stdout
        assert "dataset.path=DIR" in result.stdout


def test_a_table_that_does_not_fit_its_images_is_refused(tmp_path: Path) -> None:
    cassava(tmp_path)
    (tmp_path / "train_images" / "1003.jpg").unlink()
    with pytest.raises(DataError, match="1 of 40 image files do not exist"):
        prepared("cassava", tmp_path, tmp_path / "cache")
    picture(tmp_path / "train_images" / "1003.jpg", 3)
    (tmp_path / "train.csv").write_text((tmp_path / "train.csv").read_text() + "\n1003.jpg,7")
    with pytest.raises(DataError, match="'7'"):
        prepared("cassava", tmp_path, tmp_path / "cache")
