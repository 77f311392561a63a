"""dataset=hub: the library `datasets` on local folders, through the same call that downloads from the hub."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets import check_source, prepare
from improve.errors import ConfigError, DataError

SPLITS = {"train": range(40), "validation": range(40, 60), "test": range(60, 80)}


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(root: Path, splits: dict[str, range], names: list[str] | None = None, hidden: tuple[str, ...] = ()) -> Path:
    """Parquet files as the hub has them: images as bytes, labels as class numbers with names, or as texts."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (root / "data").mkdir(parents=True)
    for split, seeds in splits.items():
        numbers = [-1 if split in hidden else seed % 2 for seed in seeds]
        labels = numbers if names else ["even" if number == 0 else "odd" for number in numbers]
        images = [{"bytes": png(seed), "path": f"{seed}.png"} for seed in seeds]
        features: dict[str, object] = {"img": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
        if names:
            features["label"] = {"names": names, "_type": "ClassLabel"}
        table = arrow.table({"img": images, "label": labels})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    return root


def config(path: object, **values: object) -> DatasetConfig:
    return DatasetConfig(name="mine", source="hub", path=str(path), **values)  # type: ignore[arg-type]


def test_without_the_library_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        check_source(config("owner/name"), tmp_path)
    assert "pip install" in caught.value.fix


@pytest.fixture
def library() -> None:
    pytest.importorskip("datasets", reason="the extra hub is not installed")


@pytest.mark.usefixtures("library")
def test_given_splits(tmp_path: Path) -> None:
    root = write(tmp_path / "mine", SPLITS, ["even number", "odd/number", "no image has this"])
    dataset = prepare(config(root), tmp_path / "cache", str)
    assert dataset.class_names == ("even number", "odd/number")
    assert dataset.counts == {"train": 40, "selection": 20, "test": 20}
    seed_of = {np.asarray(Image.open(io.BytesIO(png(seed)))).tobytes(): seed for seed in SPLITS["test"]}
    seeds = [seed_of[image.tobytes()] for image in np.load(dataset.folder / "test" / "images.npy")]
    assert dataset.labels("test").tolist() == [seed % 2 for seed in seeds]


@pytest.mark.usefixtures("library")
def test_a_test_split_without_labels_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path / "mine", {**SPLITS, "extra": range(80, 90)}, ["even", "odd"], hidden=("test",))
    dataset = prepare(config(root), tmp_path / "cache", str)
    assert dataset.counts == {"train": 34, "selection": 6, "test": 20}
    assert "extra, test (without labels)" in dataset.card()


@pytest.mark.usefixtures("library")
def test_labels_may_be_texts(tmp_path: Path) -> None:
    dataset = prepare(config(write(tmp_path / "mine", {"train": range(40)})), tmp_path / "cache", str)
    assert dataset.class_names == ("even", "odd")
    assert dataset.counts["test"] == 8


@pytest.mark.usefixtures("library")
def test_images_without_labels_are_left_out_if_asked(tmp_path: Path) -> None:
    root = write(tmp_path / "mine", {"train": range(40), "test": range(40, 60)}, ["nan", "odd"])
    with pytest.raises(DataError, match=r"labels that read like missing values: 'nan' \(30 images\)") as caught:
        prepare(config(root), tmp_path / "cache", str)
    assert "'dataset.accept=[missing_labels]'" in caught.value.fix
    assert prepare(config(root, accept=["missing_labels"]), tmp_path / "cache", str).class_names == ("nan", "odd")
    assert "dataset.unlabelled=skip" in caught.value.fix
    with pytest.raises(DataError, match="All images have the same class"):
        prepare(config(root, unlabelled="skip"), tmp_path / "cache", str)


@pytest.mark.usefixtures("library")
def test_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "mine", SPLITS, ["even", "odd"])
    for values, says in (
        ({"label_column": "labl"}, "did you mean label"),
        ({"path_column": "image"}, "dataset.path_column=image"),
        ({"label_column": "img"}, "cannot be used as labels"),
        ({"hub_config": "french"}, "'french' not found"),
    ):
        with pytest.raises(DataError) as caught:
            prepare(config(root, **values), tmp_path / "cache", str)
        assert says in str(caught.value)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="nobody/nothing") as caught:
        prepare(config("nobody/nothing"), tmp_path / "cache", str)
    assert "dataset.path=DIR" in caught.value.fix
