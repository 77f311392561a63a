"""`improve predict`: its table, whatever files are called, and nothing that is finished is lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from improve.commands import predict as module
from improve.commands.predict import predict
from improve.commands.predictions_table import Columns, part_of
from improve.domain import Failure, Reason
from improve.errors import ConfigError, DataError, ImproveError

CLASSES = ["cat", "dog, big", "Füße"]
NAMES = ["a,b.png", "new\nline.png", 'quo"te.png', "猫.png", os.fsdecode(b"\xff\xfe.png"), " space.png"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose pipeline gives each image the same; where a file says so, a batch of one image fails."""
    best = tmp_path / "run" / "best"
    best.mkdir(parents=True)
    (best / "context.json").write_text(json.dumps({"classes": CLASSES, "height": 4, "width": 4, "channels": 1}))

    def delivered(best: Path, inputs: Path, *rest: object) -> np.ndarray | Failure:
        rows = len(np.load(inputs / "images.npy"))
        if (best / "fails").exists() and rows == 1:
            return Failure(Reason.TIMEOUT, "it took too long")
        return np.tile(np.array([[0.2, 0.7, 0.1]], np.float32), (rows, 1))

    monkeypatch.setattr(module, "predict_delivered", delivered)
    monkeypatch.setattr(module, "BATCH", 2)
    return best.parent


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES:
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


def test_any_file_name_is_written(run: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predict(run, [pictures], out, "off", Columns())
    header, *rows = read(out)
    assert header == ["file", "class", "probability"]
    assert {Path(row[0]).name for row in rows} == set(NAMES)
    assert {tuple(row[1:]) for row in rows} == {("dog, big", "0.7000")}
    assert b"\r" not in out.read_bytes()
    assert not part_of(out).exists()


def test_any_file_name_is_printed(run: Path, pictures: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    predict(run, [pictures], None, "off", Columns())
    assert b"\xff\xfe.png" in capfdbinary.readouterr().out


def test_more_classes_and_all_probabilities(run: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predict(run, [pictures / NAMES[0]], out, "off", Columns(top=2, every=True))
    header, row = read(out)
    assert header[1:] == [
        "class", "probability", "class_2", "probability_2", *(f"p({name})" for name in CLASSES),
    ]  # fmt: skip
    assert row[1:] == ["dog, big", "0.7000", "cat", "0.2000", "0.2000", "0.7000", "0.1000"]
    predict(run, [pictures / NAMES[0]], out, "off", Columns(top=9))
    assert len(read(out)[0]) == 1 + 2 * len(CLASSES)


def test_what_is_finished_is_kept_where_the_rest_fails(run: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    (run / "best" / "fails").touch()
    (pictures / "zz.png").write_bytes((pictures / NAMES[0]).read_bytes())
    with pytest.raises(ImproveError, match=r"took too long 6 images before it are done, in .*out.csv.part"):
        predict(run, [pictures], out, "off", Columns())
    assert out.read_text() == "of yesterday"
    assert len(read(part_of(out))) == 1 + 6


def test_a_place_that_cannot_be_written_is_refused_before_any_work(run: Path, pictures: Path, tmp_path: Path) -> None:
    (run / "best" / "fails").touch()
    for out in (tmp_path, tmp_path / "no" / "folder.csv"):
        with pytest.raises(ConfigError, match="cannot be written"):
            predict(run, [pictures / NAMES[0]], out, "off", Columns())


def test_a_full_disk_is_an_error_in_words(run: Path, pictures: Path) -> None:
    with pytest.raises(ConfigError, match="/dev/full cannot be written: No space left"):
        predict(run, [pictures], Path("/dev/full"), "off", Columns())


def test_no_image_leaves_no_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no readable image"):
        predict(run, [tmp_path / "empty"], tmp_path / "out.csv", "off", Columns())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out.csv")]
