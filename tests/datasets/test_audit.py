"""The audit: each kind of trouble is found and named with a fix; no run starts where a result would mean nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from improve.cli import main
from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, Finding, prepare, require_sound
from improve.datasets.giveaway import telling
from improve.datasets.pictures import LABEL_WIDTH, PER_CLASS, SIDE
from improve.errors import DataError

RNG = np.random.default_rng(0)


def picture(side: int = 24) -> Image.Image:
    """A picture like no other."""
    return Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side))


def write(folder: Path, count: int, name: str = "{}.png", side: int = 24) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(side).save(folder / name.format(number))


def opened(root: Path, **values: object) -> Dataset:
    config = DatasetConfig(name="test", source="folder", path=str(root), **values)  # type: ignore[arg-type]
    return prepare(config, root.parent / "cache", lambda line: None)


def found(dataset: Dataset, code: str) -> Finding:
    assert [finding.code for finding in dataset.audit].count(code) == 1, [f.code for f in dataset.audit]
    return next(finding for finding in dataset.audit if finding.code == code)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of images that differ in nothing but their pictures."""
    for name in ("cat", "dog"):
        write(tmp_path / "images" / name, 160)
    return tmp_path / "images"


@pytest.fixture
def given_splits(tmp_path: Path) -> Path:
    for part, count in (("train", 60), ("test", 60)):
        for name in ("cat", "dog"):
            write(tmp_path / "images" / part / name, count)
    return tmp_path / "images"


def test_good_images_give_no_finding(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "images" / name, 420)
    dataset = opened(tmp_path / "images")
    assert dataset.audit == ()
    assert yaml.safe_load(dataset.card())["notes"] == []


def test_copies_in_a_given_test_set(given_splits: Path) -> None:
    for number in range(14):
        shutil.copy(given_splits / f"train/cat/{number}.png", given_splits / f"test/cat/copy{number}.png")
    dataset = opened(given_splits)
    leak = found(dataset, "leakage")
    assert leak.severity == "stop"
    assert "14 of 134" in leak.what
    assert any("copy" in example for example in leak.examples)
    assert "copy" not in dataset.card()
    assert dataset.counts["train"] + dataset.counts["selection"] == 120 - 14
    with pytest.raises(DataError, match="14 of 134") as caught:
        require_sound(dataset.audit, [])
    assert "dataset.accept=[leakage]" in caught.value.fix
    require_sound(dataset.audit, ["leakage"])


def test_few_copies_are_a_warning(given_splits: Path) -> None:
    shutil.copy(given_splits / "train/cat/1.png", given_splits / "test/cat/copy.png")
    dataset = opened(given_splits)
    assert found(dataset, "leakage").severity == "warning"
    require_sound(dataset.audit, [])


def test_near_duplicates_across_our_split_are_reported_and_can_be_kept_together(root: Path) -> None:
    """Somebody augmented the images before splitting them."""
    for name in ("cat", "dog"):
        for number in range(80):
            Image.open(root / name / f"{number}.png").resize((21, 21)).save(root / name / f"small{number}.png")
    apart = found(opened(root, image_size=24), "near_leakage")
    assert apart.severity == "stop"
    assert "dataset.group_near_duplicates=true" in apart.fix
    kept = opened(root, image_size=24, group_near_duplicates=True)
    assert found(kept, "near_duplicates").severity == "note"
    assert ": 320 (they stay" in found(kept, "near_duplicates").what


def test_near_duplicates_that_chain_are_refused_as_groups(tmp_path: Path) -> None:
    """Frames of one film: each nearly equals the next one, so nothing could be kept apart."""
    one = np.asarray(picture(24)).astype(int)
    for number in range(60):
        folder = tmp_path / "images" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((one + number // 8).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        picture().save(folder / f"other{number}.png")
    with pytest.raises(DataError, match="group_near_duplicates would keep"):
        opened(tmp_path / "images", group_near_duplicates=True)


def test_one_picture_under_two_labels(root: Path) -> None:
    shutil.copy(root / "cat/1.png", root / "dog/again.png")
    assert found(opened(root), "contradictions").severity == "warning"
    for number in range(60):
        shutil.copy(root / f"cat/{number}.png", root / f"dog/again{number}.png")
    assert found(opened(root), "contradictions").severity == "stop"


def test_sizes_formats_and_modes_that_give_the_class_away(tmp_path: Path) -> None:
    for side, folder in ((24, "a"), (30, "b")):
        write(tmp_path / "sizes" / folder, 100, side=side)
    for name, folder in (("{}.png", "a"), ("{}.jpg", "b")):
        write(tmp_path / "formats" / folder, 100, name)
    write(tmp_path / "modes" / "a", 100)
    for number in range(100):
        (tmp_path / "modes" / "b").mkdir(exist_ok=True)
        picture().quantize(200).save(tmp_path / "modes" / "b" / f"{number}.png")
    for kind, words in (("sizes", "size in pixels"), ("formats", "format"), ("modes", "colour mode")):
        finding = found(opened(tmp_path / kind), "giveaway")
        assert finding.severity == "stop"
        assert words in finding.what
        assert re.search(r"chance [3-6]\d%", finding.what)  # the classes are balanced; the images are drawn at random


def test_names_and_metadata_that_tell_the_class_are_a_note(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "names" / name, 100, name + ".{}.png")
        folder = tmp_path / "words" / name
        folder.mkdir(parents=True)
        for number in range(100):
            words = PngInfo()
            words.add_text("Description", f"photo {number} of a {name}")
            picture().save(folder / f"{number}.png", pnginfo=words)
    for kind, start in (("names", "file names tell"), ("words", "metadata tell")):
        finding = found(opened(tmp_path / kind), "names")
        assert finding.severity == "note"
        assert finding.what.startswith(start)


def test_tiny_rare_and_blank_classes(tmp_path: Path) -> None:
    write(tmp_path / "images" / "many", 300)
    write(tmp_path / "images" / "few", 12)
    for number in range(3):
        Image.new("RGB", (24, 24), (number, 0, 0)).save(tmp_path / "images" / "many" / f"blank{number}.png")
    dataset = opened(tmp_path / "images")
    assert "'few' has" in found(dataset, "tiny_classes").what
    assert "'many' and 'few'" in found(dataset, "imbalance").what
    assert found(dataset, "blank").what.endswith(": 3")
    assert {finding.severity for finding in dataset.audit} == {"warning"}
    few = [finding.what for finding in dataset.audit if finding.code == "few_images"]
    assert [what.split(" images")[0] for what in few] == ["only 38 selection", "only 63 test"]


def test_a_class_of_blank_images_stops(tmp_path: Path) -> None:
    for number in range(256):
        folder = tmp_path / "images" / ("a" if number % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 24), number).save(folder / f"{number}.png")
    assert found(opened(tmp_path / "images"), "blank").severity == "stop"


@given(st.integers(2, 30), st.integers(40, 400), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_what_has_nothing_to_do_with_the_class_tells_nothing(values: int, images: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, values, images).tolist()
    digests = [generator.bytes(8) for _ in range(images)]
    assert telling("size", drawn, generator.integers(0, 3, images), digests) is None


@given(st.integers(2, 5), st.integers(200, 400), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_what_is_the_class_tells_it(classes: int, images: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    digests = [generator.bytes(8) for _ in range(images)]
    told = telling("format", [f"F{label}" for label in labels], labels, digests)
    assert told is not None
    assert told.accuracy == 1
    # A value that occurs once tells nothing of images that it was not learnt from.
    assert telling("name", list(range(images)), labels, digests) is None


# ---------------------------------------------------------------------- the commands


def command(name: str, root: Path, *settings: str) -> int:
    return main(
        ["data", name, "dataset=folder", f"dataset.path={root}", f"cache_dir={root.parent / 'cache'}", *settings]
    )


def test_check_lists_all_findings_and_fails_where_a_run_would_stop(
    given_splits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("check", given_splits) == 0
    output = capsys.readouterr().out
    assert "A run would start." in output
    assert re.search(r"cat +│ +51 │ +9 │ +60", output)
    for number in range(20):
        shutil.copy(given_splits / f"train/cat/{number}.png", given_splits / f"test/cat/copy{number}.png")
    (given_splits / "train/cat/broken.png").write_bytes(b"\x89PNG")
    assert command("check", given_splits) == DataError.exit_code
    output = capsys.readouterr().out
    assert output.count("│ stop") == 2  # the broken file and the leak: one does not hide the other
    unwrapped = re.sub(r"[\s│]+", "", output)
    assert "broken.png" in unwrapped
    assert "dataset.accept=[leakage]" in unwrapped
    assert command("check", given_splits, "dataset.unreadable=skip") == DataError.exit_code
    assert command("check", given_splits, "dataset.unreadable=skip", "dataset.accept=[leakage]") == 0


def test_show_writes_a_contact_sheet_and_prints_the_card(
    given_splits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert command("show", given_splits, "-o", str(sheet), "dataset.description=Two kinds.") == 0
    card = capsys.readouterr().out.split(f"{sheet}:")[0]
    assert yaml.safe_load(card)["description"] == "Two kinds."
    with Image.open(sheet) as image:
        assert image.height >= 2 * SIDE
        assert image.width >= LABEL_WIDTH + PER_CLASS * SIDE
        assert len(image.convert("RGB").getcolors(2**24) or []) > 100


def test_show_names_a_folder_that_is_missing(given_splits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", given_splits, "--out=/nowhere/sheet.png") == 2
    assert "/nowhere is no folder" in capsys.readouterr().err


def test_the_paper_protocol_audits_its_own_two_splits(tmp_path: Path) -> None:
    """Copies of validation images that train with them are no leak; the selection images are the test images."""
    root = tmp_path / "images"
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            write(root / part / name, 60)
    for number in range(20):
        shutil.copy(root / "val" / "cat" / f"{number}.png", root / "train" / "cat" / f"copy{number}.png")
    config = DatasetConfig(name="test", source="folder", path=str(root))
    honest = prepare(config, tmp_path / "cache", lambda line: None)
    assert found(honest, "leakage").severity == "stop"
    paper = prepare(config, tmp_path / "cache", lambda line: None, select_on="test")
    assert {finding.code for finding in paper.audit} == {"copies", "near_duplicates", "protocol", "splits"}
    assert found(paper, "splits").what == "the test images came as a split of their own"
    assert paper.counts == {"train": 260, "selection": 120, "test": 120}
