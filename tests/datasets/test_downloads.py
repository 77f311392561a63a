"""Sources that are downloaded: real loading code against small files in the official layouts, on a local server."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import yaml
from PIL import Image

from improve.config.schema import DatasetConfig
from improve.datasets import Dataset, check_source, prepare
from improve.datasets.corruptions import NAMES
from improve.datasets.source import PARTS
from improve.datasets.sources import dsprites, tiny_imagenet
from improve.errors import DataError
from tests.support import paths

CONF = paths.CONF / "dataset"
CLASSES = ["airplane", "automobile", "bird"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, slowly enough for two to meet, and keeps the paths that were sent in `sent`."""

    sent: list[str]

    def log_message(self, format: str, *args: object) -> None: ...

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.command == "GET" and self.headers.get("Method") is None:  # torchvision asks once for redirects alone
            self.sent.append(self.path)
            time.sleep(0.3)
        super().copyfile(source, outputfile)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which its files can be downloaded."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(Quiet, "sent", [], raising=False)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_port}/"
    http.shutdown()
    thread.join()
    http.server_close()


def configured(name: str, **values: object) -> DatasetConfig:
    return DatasetConfig(**{**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **values})


def pixels(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def images_of(dataset: Dataset, *splits: str) -> set[bytes]:
    return {image.tobytes() for split in splits for image in np.load(dataset.folder / split / "images.npy")}


@pytest.fixture
def cifar(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's archive with 60 training and 30 test images in 3 classes, its checksums told to torchvision."""
    from torchvision.datasets import CIFAR10

    folder, url = server
    files: dict[str, bytes] = {"batches.meta": pickle.dumps({"label_names": CLASSES})}
    train, test = pixels(0, 60), pixels(1, 30)
    for number, batch in enumerate(np.split(train, 5), start=1):
        files[f"data_batch_{number}"] = pickle.dumps(
            {"data": batch.transpose(0, 3, 1, 2).reshape(12, -1), "labels": [n % 3 for n in range(12)]}
        )
    files["test_batch"] = pickle.dumps(
        {"data": test.transpose(0, 3, 1, 2).reshape(30, -1), "labels": [n % 3 for n in range(30)]}
    )
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "url", url + "cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5((folder / "cifar.tar.gz").read_bytes()))
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{n}", md5(files[f"data_batch_{n}"])] for n in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(files["batches.meta"])})
    return train, test


def test_cifar10_is_downloaded_once(tmp_path: Path, cifar: tuple[np.ndarray, np.ndarray]) -> None:
    told: list[str] = []
    bars: list[str] = []
    dataset = prepare(configured("cifar10"), tmp_path / "cache", told.append, bars.append)
    assert dataset.class_names == tuple(CLASSES)
    assert dataset.counts == {"train": 51, "selection": 9, "test": 30}
    assert images_of(dataset, "train", "selection") == {image.tobytes() for image in cifar[0]}
    assert images_of(dataset, "test") == {image.tobytes() for image in cifar[1]}
    assert any(str(tmp_path / "cache" / "downloads" / "cifar10") in line for line in told)
    assert any(bar.startswith("CIFAR-10: ") and "%" in bar for bar in bars)
    # Another split of the same images needs no download.
    told.clear()
    prepare(configured("cifar10", split_seed=1), tmp_path / "cache", told.append)
    assert not any("downloading" in line for line in told)


def test_two_runs_at_once_share_a_download(tmp_path: Path, cifar: tuple[np.ndarray, np.ndarray]) -> None:
    """Two datasets of the same files: the second run waits for the first one's download."""
    told: list[str] = []
    with ThreadPoolExecutor(2) as threads:
        configs = (configured("cifar10"), configured("cifar10c1"))
        both = list(threads.map(lambda config: prepare(config, tmp_path / "cache", told.append), configs))
    assert [dataset.counts["test"] for dataset in both] == [30, 30]
    assert Quiet.sent == ["/cifar.tar.gz"]
    assert "another run is downloading CIFAR-10" in told


def test_a_damaged_download_is_not_used(
    tmp_path: Path, server: tuple[Path, str], cifar: tuple[np.ndarray, np.ndarray]
) -> None:
    archive = server[0] / "cifar.tar.gz"
    good = archive.read_bytes()
    archive.write_bytes(good[:-100])
    with pytest.raises(DataError, match=r"could not be downloaded .* \(File not found or corrupted"):
        prepare(configured("cifar10"), tmp_path / "cache", str)
    archive.write_bytes(good)
    assert prepare(configured("cifar10"), tmp_path / "cache", str).counts["test"] == 30


def test_no_network_is_one_sentence_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10, SVHN, FashionMNIST

    nobody = "http://127.0.0.1:9/"  # the discard port: connections are refused
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(CIFAR10, "url", nobody)
    monkeypatch.setattr(SVHN, "split_list", {k: [nobody, *v[1:]] for k, v in SVHN.split_list.items()})
    monkeypatch.setattr(FashionMNIST, "mirrors", [nobody])
    monkeypatch.setattr(tiny_imagenet, "URL", nobody)
    for name in ("cifar10", "cifar10c5", "svhn", "fashion_mnist", "tiny_imagenet"):
        started = time.monotonic()
        with pytest.raises(DataError, match="could not be downloaded") as caught:
            prepare(configured(name), tmp_path / "cache", str)
        assert "Connection refused" in caught.value.what
        assert "dataset.path=DIR" in caught.value.fix
        assert time.monotonic() - started < 20
        with pytest.raises(DataError, match="does not exist"):
            check_source(configured(name, path=str(tmp_path / "absent")), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and path.name != "downloads"]


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from torchvision.datasets import CIFAR10

    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts and says nothing
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{listener.getsockname()[1]}/")
        monkeypatch.setattr("improve.datasets.fetch.SILENCE_SECONDS", 0.3)
        with pytest.raises(DataError, match="timed out"):
            prepare(configured("cifar10"), tmp_path / "cache", str)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("severity", [1, 5])
def test_cifar10c_is_made_here_or_taken_from_the_official_files(
    tmp_path: Path, cifar: tuple[np.ndarray, np.ndarray], severity: int
) -> None:
    config = configured(f"cifar10c{severity}")
    made = prepare(config, tmp_path / "cache", str)
    assert images_of(made, "train", "selection") == {image.tobytes() for image in cifar[0]}, "clean"
    assert not images_of(made, "test") & {image.tobytes() for image in cifar[1]}
    strata = made.test_strata()
    assert strata is not None
    assert len(strata) == 30
    assert set(strata) <= set(NAMES)
    assert len(set(strata)) > 5
    assert "not its published pixels" in " ".join(made.card().split())
    again = prepare(configured(f"cifar10c{severity}", image_size=None), tmp_path / "cache", str)
    assert again.folder != made.folder
    assert again.fingerprint == made.fingerprint, "the same images each time"

    # Official files: image n of corruption c at severity s is marked by its pixels.
    folder = tmp_path / "cache" / "downloads" / "cifar10" / "CIFAR-10-C"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        array = np.zeros((150, 32, 32, 3), np.uint8)
        array[:, 0, 0] = [[number, row // 30 + 1, row % 30] for row in range(150)]
        np.save(folder / f"{name}.npy", array)
    with pytest.raises(DataError, match=r"but not labels\.npy"):
        prepare(config, tmp_path / "cache", str)
    np.save(folder / "labels.npy", np.tile(np.arange(30) % 3, 5))
    official = prepare(config, tmp_path / "cache", str)
    assert "official CIFAR-10-C files" in official.card()
    marks = np.load(official.folder / "test" / "images.npy")[:, 0, 0].tolist()
    assert official.test_strata() == [NAMES[mark[0]] for mark in marks]
    assert {mark[1] for mark in marks} == {severity}
    assert sorted(mark[2] for mark in marks) == list(range(30))
    assert official.labels("test").tolist() == [mark[2] % 3 for mark in marks]
    np.save(folder / "labels.npy", np.zeros(150, np.int64))
    with pytest.raises(DataError, match=r"labels\.npy does not belong to CIFAR-10"):
        prepare(config, tmp_path / "cache", str)


def test_svhn(tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    folder, url = server
    lists = {}
    for split, count in (("train", 60), ("test", 20)):
        name = f"{split}_32x32.mat"
        # The digit 0 is stored as 10.
        labels = np.array([(n % 10) or 10 for n in range(count)], dtype=np.uint8)[:, None]
        scipy.io.savemat(folder / name, {"X": pixels(count, count).transpose(1, 2, 3, 0), "y": labels})
        lists[split] = [url + name, name, md5((folder / name).read_bytes())]
    monkeypatch.setattr(SVHN, "split_list", lists)
    dataset = prepare(configured("svhn"), tmp_path / "cache", str)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.counts == {"train": 50, "selection": 10, "test": 20}
    originals = {image.tobytes(): n % 10 for n, image in enumerate(pixels(20, 20))}
    found = [originals[image.tobytes()] for image in np.load(dataset.folder / "test" / "images.npy")]
    assert found == dataset.labels("test").tolist()


def test_fashion_mnist_from_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    raw = tmp_path / "mine" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        grey = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + grey.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())
    raw.chmod(0o555)
    dataset = prepare(configured("fashion_mnist", path=str(tmp_path / "mine")), tmp_path / "cache", str)
    raw.chmod(0o755)
    assert dataset.class_names[0] == "T-shirt/top"
    assert (dataset.height, dataset.channels, dataset.counts["test"]) == (28, 1, 20)


def tiny(root: Path) -> Path:
    """tiny-imagenet-200 with 4 classes, 6 training and 3 validation images each."""
    wnids = ("n01443537", "n01629819", "n02002724", "n02085620")
    (root / "val" / "images").mkdir(parents=True)
    (root / "test" / "images").mkdir(parents=True)
    words = ("goldfish, Carassius auratus", "salamander", "stork", "stork, another bird")
    (root / "words.txt").write_text("".join(f"{w}\t{names}\n" for w, names in zip(wnids, words, strict=True)))
    annotations = []
    for number, wnid in enumerate(wnids):
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for n in range(9):
            image = Image.fromarray(
                np.random.default_rng(10 * number + n).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            )
            if n < 6:
                image.save(root / "train" / wnid / "images" / f"{wnid}_{n}.JPEG")
            else:
                image.save(root / "val" / "images" / f"val_{3 * number + n}.JPEG")
                annotations.append(f"val_{3 * number + n}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    image.save(root / "test" / "images" / "test_0.JPEG")
    return root


def test_tiny_imagenet(tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, url = server
    root = tiny(tmp_path / "made" / "tiny-imagenet-200")
    with zipfile.ZipFile(folder / "tiny.zip", "w") as archive:
        for path in root.rglob("*"):
            archive.write(path, path.relative_to(root.parent))
    monkeypatch.setattr(tiny_imagenet, "URL", url + "tiny.zip")
    monkeypatch.setattr(tiny_imagenet, "MD5", md5((folder / "tiny.zip").read_bytes()))
    dataset = prepare(configured("tiny_imagenet"), tmp_path / "cache", str)
    assert dataset.class_names == ("goldfish", "salamander", "n02002724", "n02085620"), "names that are not unique"
    assert dataset.counts == {"train": 20, "selection": 4, "test": 12}
    for path in (root, root.parent):
        own = prepare(configured("tiny_imagenet", path=str(path)), tmp_path / "cache", str)
        assert own.fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="does not hold TinyImageNet"):
        check_source(configured("tiny_imagenet", path=str(root / "train")), tmp_path / "cache")
    next((root / "val" / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="1 of 36 image files do not exist"):
        prepare(configured("tiny_imagenet", path=str(root)), tmp_path / "cache", str)


def test_dsprites_official_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the official layout, with 2 × 2 positions instead of 32 × 32."""
    monkeypatch.setattr(dsprites, "SHAPE_OF", (3, 6, 40, 2, 2))
    monkeypatch.setattr(dsprites, "LATENTS", 2880)
    latents = np.arange(2880)
    images = dsprites.render(latents) // 255
    images[:, 0, 0] = 1  # a mark: rendered images have none
    classes = np.column_stack([np.zeros(2880, np.int64), *np.unravel_index(latents, dsprites.SHAPE_OF)])
    np.savez_compressed(tmp_path / dsprites.OFFICIAL, imgs=images, latents_classes=classes)
    counts = {"train": 400, "selection": 200, "test": 200, "image_size": 64}
    rendered = prepare(configured("dsprites_orientation", **counts), tmp_path / "cache", str)
    assert "rendered here" in rendered.card()
    for path in (tmp_path, tmp_path / dsprites.OFFICIAL):
        config = configured("dsprites_orientation", path=str(path), **counts)
        official = prepare(config, tmp_path / "cache", str)
        assert "official dSprites file" in official.card()
        found = np.concatenate([np.load(official.folder / split / "images.npy") for split in PARTS])
        assert (found[:, 0, 0] == 255).all()
        found[:, 0, 0] = 0
        assert {image.tobytes() for image in found} == images_of(rendered, *PARTS), "the same draw"
    np.savez_compressed(tmp_path / dsprites.OFFICIAL, imgs=images, latents_classes=classes[::-1])
    with pytest.raises(DataError, match="does not have the layout of dSprites"):
        prepare(config, tmp_path / "cache", str)
    (tmp_path / dsprites.OFFICIAL).write_bytes(b"rubbish")
    with pytest.raises(DataError, match="cannot be read"):
        prepare(config, tmp_path / "cache", str)
    with pytest.raises(DataError, match="does not hold dsprites_ndarray"):
        check_source(configured("dsprites_orientation", path=str(tmp_path / "cache")), tmp_path / "cache")
