"""The cache of prepared images: whole or absent, verified, blinded; and disks that are full or may not be written."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, prepare
from improve.errors import DataError
from tests.support import paths

REPO = paths.ROOT
SMALL = DatasetConfig(name="small", source="dsprites", train=400, selection=100, test=100, image_size=16)

# Prepares SMALL in the folder argv[1]; argv[2] makes reading each image slower, by so many seconds.
PROGRAM = """
import signal, sys, time
from pathlib import Path
from improve.config.schema import DatasetConfig
from improve.datasets import prepare
from improve.datasets.sources import dsprites
from improve.errors import DataError
import dataclasses

# A shell that starts the tests in the background leaves SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

load = dsprites.load
def slow_load(config, downloads, notify):
    source = load(config, downloads, notify)
    def read(row, to):
        time.sleep(float(sys.argv[2]))
        return source.read(row, to)
    return dataclasses.replace(source, read=read)
dsprites.load = slow_load
config = DatasetConfig(name="small", source="dsprites", train=400, selection=100, test=100, image_size=int(sys.argv[3]))
try:
    dataset = prepare(config, Path(sys.argv[1]), lambda line: print(line, flush=True))
    print("fingerprint", dataset.fingerprint)
except DataError as error:
    print("DataError", error)
"""


def start(cache: Path, delay: float = 0.0, size: int = 16, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-c", PROGRAM, str(cache), str(delay), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO)


def output(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=60)
    return text


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return prepare(SMALL, tmp_path / "cache", lambda line: None)


def test_second_use_prepares_nothing(tmp_path: Path, dataset: Dataset) -> None:
    told: list[str] = []
    again = prepare(SMALL, tmp_path / "cache", told.append)
    assert again == dataset
    assert told == []


def test_result_is_the_same_in_another_cache(tmp_path: Path, dataset: Dataset) -> None:
    other = prepare(SMALL, tmp_path / "other", lambda line: None)
    assert other.fingerprint == dataset.fingerprint
    assert other.record() == dataset.record()
    assert dict(other.files) == dict(dataset.files)


def test_name_and_description_do_not_count(tmp_path: Path, dataset: Dataset) -> None:
    renamed = DatasetConfig(**{**vars(SMALL), "name": "a b/c", "description": "Ten digits."})
    other = prepare(renamed, tmp_path / "cache", lambda line: None)
    assert other.fingerprint == dataset.fingerprint
    assert other.folder.parent == dataset.folder.parent
    assert "Ten digits." in other.card()


def test_blinded_folders_hold_images_alone(dataset: Dataset) -> None:
    for split in ("selection", "test"):
        folder = dataset.inputs_folder(split)
        assert [path.name for path in folder.iterdir()] == ["images.npy"]
        for path in (folder, folder / "images.npy"):
            assert path.stat().st_mtime == 0
        hidden = dataset.folder / "hidden" / f"{split}.npy"
        assert stat.S_IMODE(hidden.stat().st_mode) == 0o600
        assert stat.S_IMODE(hidden.parent.stat().st_mode) == 0o700
        assert hidden.parent not in (folder, *folder.parents, dataset.train_folder)
        assert len(dataset.labels(split)) == dataset.counts[split] == len(np.load(folder / "images.npy"))


def test_order_of_blinded_rows_tells_nothing(dataset: Dataset) -> None:
    """Neither sorted, nor in the order of the source (whose classes are 0, 1, 2, …)."""
    labels = dataset.labels("test")
    equal_neighbours = (labels[1:] == labels[:-1]).mean()
    steps_of_one = ((labels[1:] - labels[:-1]) % 40 == 1).mean()
    assert equal_neighbours < 0.15
    assert steps_of_one < 0.15


def test_write_subset(tmp_path: Path, dataset: Dataset) -> None:
    rows = np.array([7, 3, 99, 3])
    dataset.write_subset("test", rows, tmp_path / "subset" / "images")
    written = tmp_path / "subset" / "images"
    assert [path.name for path in written.iterdir()] == ["images.npy"]
    everything = np.load(dataset.inputs_folder("test") / "images.npy")
    assert np.array_equal(np.load(written / "images.npy"), everything[rows])
    assert (written / "images.npy").stat().st_mtime == 0


@pytest.mark.parametrize("name", ["train/images.npy", "train/labels.npy", "selection/images.npy", "hidden/test.npy"])
def test_changed_files_are_noticed(dataset: Dataset, name: str) -> None:
    dataset.verify()
    path = dataset.folder / name
    times = path.stat()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # covering the traces
    with pytest.raises(DataError, match=name) as caught:
        dataset.verify()
    assert str(dataset.folder) in caught.value.fix


def test_new_and_missing_files_are_noticed(dataset: Dataset) -> None:
    (dataset.inputs_folder("test") / "labels.npy").write_bytes(b"hint")
    with pytest.raises(DataError, match=r"test/labels\.npy"):
        dataset.verify()
    (dataset.inputs_folder("test") / "labels.npy").unlink()
    dataset.verify()
    (dataset.folder / "hidden" / "test.npy").unlink()
    with pytest.raises(DataError, match=r"hidden/test\.npy"):
        dataset.verify()


def test_damaged_entry_is_prepared_anew(tmp_path: Path, dataset: Dataset) -> None:
    told: list[str] = []
    for name in ("manifest.json", "train/images.npy"):
        (dataset.folder / name).write_bytes(b"rubbish")
        again = prepare(SMALL, tmp_path / "cache", told.append)
        assert again.fingerprint == dataset.fingerprint
        again.verify()
    assert any("anew" in line for line in told)


def test_two_starts_at_once_share_one_preparation(tmp_path: Path) -> None:
    first = start(tmp_path, delay=0.001)
    second = start(tmp_path, delay=0.001)
    texts = [output(first), output(second)]
    fingerprints = {text.split()[-1] for text in texts}
    assert len(fingerprints) == 1
    assert sum("preparing the images of small" in text for text in texts) == 1
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == 1


def test_killed_half_way_leaves_no_entry_and_the_next_start_cleans_up(tmp_path: Path) -> None:
    process = start(tmp_path, delay=0.02, size=24)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.building/scratch")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.glob("*.building/scratch"))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == [".building"]
    # The next start removes it, even if it prepares something else.
    dataset = prepare(SMALL, tmp_path, lambda line: None)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [dataset.folder]


def test_interrupted_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, delay=0.02)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.building/scratch")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in output(process)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def bubblewrap(*options: str) -> tuple[str, ...]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap (bwrap) is needed for a disk that is full or read-only")
    return ("bwrap", "--dev-bind", "/", "/", *options, "--")


def test_full_disk_is_explained(tmp_path: Path) -> None:
    """600 images of 128 × 128 × 3 bytes do not fit into 8 MiB: found out before the first image is read."""
    prefix = bubblewrap("--size", str(8 * 2**20), "--tmpfs", str(tmp_path))
    started = time.monotonic()
    text = output(start(tmp_path, delay=0.02, size=128, prefix=prefix))
    assert "DataError The disk is full" in text
    assert "fix: free some space" in text
    assert time.monotonic() - started < 30


def test_disk_that_fills_up_later_is_explained(tmp_path: Path) -> None:
    """The scratch file (7 MiB) fits, the arrays beside it do not."""
    text = output(start(tmp_path, size=64, prefix=bubblewrap("--size", str(8 * 2**20), "--tmpfs", str(tmp_path))))
    assert "DataError The disk is full" in text


def test_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    text = output(start(tmp_path, prefix=bubblewrap("--ro-bind", str(tmp_path), str(tmp_path))))
    assert "DataError Prepared images cannot be written" in text
    assert "cache_dir=DIR" in text


def test_cache_below_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        prepare(SMALL, tmp_path / "file" / "cache", lambda line: None)
