"""The folder of prepared datasets: an entry appears whole or not at all, whoever builds it, whatever kills them.

An entry is built in `NAME.building` while a lock on `NAME.lock` is held, then renamed. The lock ends with its process,
so a `.building` folder whose lock is free was left by a crash and is removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from improve.errors import DataError
from improve.record.locks import NO_LOCKS, without_locks

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)
WRITE_BYTES = 16 * 2**20  # written at once


def ensure(entry: Path, build: Callable[[Path], None], notify: Callable[[str], None]) -> None:
    """Makes sure that the folder `entry` exists, calling `build(folder)` to fill it if not. Raises `DataError`.

    Of several processes that want the same entry one builds and the others wait for it.
    """
    if entry.is_dir():
        return
    with explained(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(entry.parent)
        with locked(entry.with_name(entry.name + ".lock"), notify):
            if entry.is_dir():
                return
            building = entry.with_name(entry.name + ".building")
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            try:
                build(building)
                building.rename(entry)
            finally:
                shutil.rmtree(building, ignore_errors=True)


def remove_left_over(cache: Path) -> None:
    """Removes what builds that were killed have left in `cache`."""
    for building in cache.glob("*.building"):
        with open(building.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # being built right now
            shutil.rmtree(building, ignore_errors=True)


@contextmanager
def locked(path: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of the file `path`; it ends with the process. `notify` is told if another one has it."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify("waiting: another run is preparing the same images")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into a `DataError` that names the fix."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            free = shutil.disk_usage(_existing(folder)).free / 2**20
            raise DataError(
                f"The disk is full: the prepared images do not fit into {folder} ({free:,.0f} MiB free).",
                "free some space, use a smaller dataset.image_size, or another folder with cache_dir=DIR",
            ) from error
        if error.errno in NO_LOCKS:
            raise without_locks(folder, error) from error
        if error.errno in FORBIDDEN:
            raise DataError(
                f"Prepared images cannot be written to {folder} ({error.strerror}).",
                "choose a folder that you may write to: cache_dir=DIR",
            ) from error
        raise


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def allocate(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A new uint8 array in a file, its space taken at once: a full disk is an `OSError` here, not a crash later."""
    size = int(np.prod(shape))
    with open(path, "wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape) if size else np.zeros(shape, np.uint8)


def write_array(path: Path, array: np.ndarray, rows: np.ndarray, channels: int | None = None) -> None:
    """`array[rows]` (its first `channels` channels, if given) as an .npy file, without holding it in memory."""
    shape = (len(rows), *array.shape[1:])
    if channels is not None:
        shape = (*shape[:-1], channels)
    step = max(1, WRITE_BYTES // max(1, array[:1].nbytes))
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), step):
            part = array[rows[start : start + step]]
            file.write(np.ascontiguousarray(part if channels is None else part[..., :channels]).data)


def forget_times(paths: Iterable[Path]) -> None:
    """Sets the times of files and folders to zero: they would tell the order in which the files were written."""
    for path in paths:
        os.utime(path, (0, 0))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
