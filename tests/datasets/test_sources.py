"""The sources that need no download: their images are what they claim to be, and their YAML files compose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from improve.config.checks import check
from improve.config.schema import Config, DatasetConfig
from improve.datasets import prepare, sources
from improve.datasets.source import Downloads
from improve.datasets.sources import dsprites
from improve.errors import ConfigError, DataError
from improve.pipeline.template.images import Preparation
from tests.support import paths

REPO = paths.ROOT
CONF = paths.CONF / "dataset"
NOWHERE = Downloads(Path("/no/downloads"))
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
PAPER = {
    *("cifar10", "cifar10c1", "cifar10c5", "tiny_imagenet", "svhn", "dsprites_orientation"),
    *("cassava", "animals4", "arabic_letters", "kitchenware"),
}


def configured(name: str, **values: object) -> DatasetConfig:
    return DatasetConfig(**{**option(name), **values})


def option(name: str) -> dict[str, Any]:
    """The values of an option, with those of the option that it builds on."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    base, *_ = values.pop("defaults", ["_self_"])
    return values if base == "_self_" else {**option(base), **values}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """The true frames of dSprites, 320 × 64 × 64."""
    folder = Path(os.environ.get("IMPROVE_SHARED_DATA", REPO.parent / "shared" / "data"))
    path = folder / "dsprites" / "frames.gif"
    if not path.exists():
        pytest.skip(f"no true frames of dSprites at {path} (set IMPROVE_SHARED_DATA to the folder that has dsprites/)")
    image = Image.open(path)
    found = []
    for number in range(image.n_frames):
        image.seek(number)
        found.append(np.asarray(image.convert("L")))
    return np.stack(found)


@pytest.mark.parametrize(("shape", "first"), [("heart", 18), ("ellipse", 210), ("square", 274)])
def test_rendered_rotations_match_the_true_frames(frames: np.ndarray, shape: str, first: int) -> None:
    """40 frames show the 40 rotations, at the largest scale and the first position."""
    number = dsprites.SHAPES.index(shape)
    latents = [np.ravel_multi_index((number, 5, rotation, 0, 0), dsprites.SHAPE_OF) for rotation in range(40)]
    differing = (dsprites.render(np.array(latents)) != frames[first : first + 40]).sum(axis=(1, 2))
    assert differing.max() <= 4
    # A neighbouring rotation would not do.
    turned = (dsprites.render(np.roll(latents, 1)) != frames[first : first + 40]).sum(axis=(1, 2))
    assert turned.mean() > 5 * differing.mean()


def test_rendered_scales_and_positions_match_the_true_frames(frames: np.ndarray) -> None:
    heart = dsprites.SHAPES.index("heart")
    scales = [np.ravel_multi_index((heart, scale, 0, 0, 0), dsprites.SHAPE_OF) for scale in range(6)]
    assert (dsprites.render(np.array(scales)) != frames[:6]).sum(axis=(1, 2)).max() <= 8
    down = [np.ravel_multi_index((heart, 5, 0, 0, y), dsprites.SHAPE_OF) for y in range(32)]
    right = [np.ravel_multi_index((heart, 5, 0, x, 31), dsprites.SHAPE_OF) for x in range(32)]
    for latents, first in ((down, 58), (right, 90)):
        differing = (dsprites.render(np.array(latents)) != frames[first : first + 32]).sum()
        assert differing / (frames[first : first + 32] > 0).sum() < 0.03


def test_rotation_turns_the_shape_counterclockwise() -> None:
    """The tip of the heart points down at 0°, to the right at about 90°."""
    heart = dsprites.SHAPES.index("heart")
    latents = [np.ravel_multi_index((heart, 5, rotation, 16, 16), dsprites.SHAPE_OF) for rotation in (0, 10)]
    down, right = dsprites.render(np.array(latents)) > 0
    rows, columns = np.nonzero(down)
    assert len(np.unique(columns[rows == rows.max()])) < len(np.unique(columns[rows == rows.min()]))
    rows, columns = np.nonzero(right)
    assert len(np.unique(rows[columns == columns.max()])) < len(np.unique(rows[columns == columns.min()]))


def test_dsprites_as_configured(tmp_path: Path) -> None:
    config = configured("dsprites_orientation", train=1600, selection=400, test=800)
    dataset = prepare(config, tmp_path, lambda line: None)
    assert dataset.counts == {"train": 1600, "selection": 400, "test": 800}
    assert (dataset.height, dataset.width, dataset.channels) == (32, 32, 1)
    assert dataset.class_names[:2] == ("000deg", "009deg")
    assert len(set(dataset.class_names)) == 40
    assert set(dataset.images_per_class) == {40}
    for split in ("selection", "test"):
        counts = np.bincount(dataset.labels(split), minlength=40)
        assert counts.max() - counts.min() <= 1
    # 64 × 64 black and white, averaged over blocks of 2 × 2: five levels.
    images = np.load(dataset.train_folder / "images.npy")
    assert set(np.unique(images)) == {0, 64, 128, 191, 255}
    assert yaml.safe_load(dataset.card())["pixels"]["kind"] == "binary"
    everything = [images, *(np.load(dataset.inputs_folder(split) / "images.npy") for split in ("selection", "test"))]
    sides = [{image.tobytes() for image in part} for part in everything]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]


def test_dsprites_labels_are_the_rotations_of_their_images(tmp_path: Path) -> None:
    dataset = prepare(
        configured("dsprites_orientation", image_size=64, train=400, selection=200, test=200), tmp_path, str
    )
    order = dsprites.load(configured("dsprites_orientation", train=400, selection=200, test=200), NOWHERE, str)
    rotation = {
        order.read(row, Preparation(64, 64, 1)).picture.image.tobytes(): order.labels[row] for row in range(800)
    }
    images = np.load(dataset.inputs_folder("test") / "images.npy")
    found = [rotation[image.tobytes()] for image in images]
    twins = {0: 39, 39: 0}  # the same angle, so the same picture
    assert all(a in (b, twins.get(b)) for a, b in zip(found, dataset.labels("test").tolist(), strict=True))


def test_dsprites_seed_draws_other_images(tmp_path: Path) -> None:
    small = {"train": 160, "selection": 80, "test": 80}
    first, second = (prepare(configured("dsprites_orientation", split_seed=s, **small), tmp_path, str) for s in (0, 1))
    images = [{i.tobytes() for i in np.load(d.train_folder / "images.npy")} for d in (first, second)]
    assert len(images[0] & images[1]) < 10


def test_more_sprites_than_there_are() -> None:
    with pytest.raises(DataError, match="737,280"):
        dsprites.load(configured("dsprites_orientation", train=740_000), NOWHERE, str)


def test_digits(tmp_path: Path) -> None:
    dataset = prepare(configured("digits"), tmp_path, lambda line: None)
    assert dataset.counts == {"train": 1222, "selection": 216, "test": 359}
    assert (dataset.height, dataset.width, dataset.channels) == (8, 8, 1)
    images = np.load(dataset.train_folder / "images.npy")
    assert (images.min(), images.max()) == (0, 255)
    assert len(np.unique(images)) == 17
    # A nearest-neighbour classifier is right on nearly all of them: labels belong to their images.
    train = images.reshape(len(images), -1).astype(np.float32)
    labels = np.load(dataset.train_folder / "labels.npy")
    test = np.load(dataset.inputs_folder("test") / "images.npy").reshape(-1, 64).astype(np.float32)
    distance = (train**2).sum(1)[None] - 2 * test @ train.T
    assert (labels[distance.argmin(axis=1)] == dataset.labels("test")).mean() > 0.96


@pytest.mark.parametrize("name", NAMES)
def test_yaml_matches_the_schema(name: str) -> None:
    own = name in ("folder", "csv", "hub")
    config = Config(dataset=configured(name, **({"path": "."} if own else {})))
    config.acceptance.rule = "paired"
    check(config)
    assert config.dataset.name == name
    assert config.dataset.source in sources.names()
    assert own or config.dataset.description
    lines = (CONF / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith(f"# python -m improve.run dataset={name}")
    builds_on = yaml.safe_load("\n".join(lines)).get("defaults", ["_self_"])[0]
    comments = [line for line in lines if line.startswith("#")]
    says = any("Test images:" in line for line in comments)
    assert says == (builds_on == "_self_"), "which of the paper's rules applies"


def test_all_of_the_papers_datasets_are_there() -> None:
    assert set(NAMES) >= PAPER


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 0}, "dataset.image_size=0 is too small"),
        ({"train": 0}, "dataset.train=0"),
        ({"channels": 4}, "dataset.channels=4"),
        ({"unreadable": "ignore"}, "dataset.unreadable=ignore"),
        ({"path": None}, "needs dataset.path"),
        ({"path": None, "source": "csv"}, "dataset=csv needs dataset.path"),
        ({"path": None, "source": "hub"}, "OWNER/NAME"),
        ({"severity": 3}, "dataset.severity=3"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, object], message: str) -> None:
    config = Config(dataset=configured("folder", **{"path": ".", **values}))
    config.acceptance.rule = "paired"
    with pytest.raises(ConfigError, match=message):
        check(config)


def test_unknown_source_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.source=dsprite is unknown") as caught:
        prepare(configured("digits", source="dsprite"), tmp_path, str)
    assert "did you mean dsprites" in caught.value.fix


def test_preparing_images_needs_no_torch() -> None:
    """Start-up must stay quick. (Run in a fresh interpreter: other tests may have imported it here.)"""
    program = "import improve.datasets, sys; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO)
    assert result.stdout.split() == ["False", "False"]
