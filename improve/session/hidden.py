"""What generated code must not see: the images and labels, the cache, the outputs, the folder that people work in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from improve.config.places import expanded
from improve.config.schema import Config
from improve.errors import ConfigError, SandboxError
from improve.execution.local import LocalExecutor
from improve.sandbox import Sandbox, shown_in

_SOME, _MANY = 8, 10_000  # files that are tried; entries that are gone through for them


class Secret(NamedTuple):
    """A folder or file, what it is to people, and what they can do if it is in sight."""

    what: str
    path: Path
    fix: str


def secrets_of(config: Config, cache: Path, folder: Path) -> list[Secret]:
    """All of a run's, whether they are there yet or not."""
    found = [
        Secret("the outputs", folder, "choose outputs=DIR or run_dir=DIR outside of it"),
        Secret("the cache", cache, "export IMPROVE_CACHE=DIR, or cache_dir=DIR, outside of it"),
        Secret("the working folder", Path.cwd(), "start improve in another folder"),
    ]
    if config.dataset.path:
        path = expanded(config.dataset.path).absolute()
        found.append(Secret("the dataset", path, "move the images out of it, and name them with dataset.path=DIR"))
    if config.executor.weights:
        path = expanded(config.executor.weights).absolute()
        found.append(Secret("the folder of weights", path, "move it, and name it with executor.weights=DIR"))
    return found


def require_hidden(sandbox: Sandbox, found: list[Secret]) -> None:
    """Refuse a secret that lies in what generated code is shown. Raises `ConfigError`."""
    for secret in found if sandbox.tier.verified else ():
        shown = shown_in(secret.path)
        if shown:
            raise ConfigError(
                f"Generated code would see {secret.what}, {secret.path}: it lies in {shown}, which is shown in the "
                "sandbox as a part of Python or of its packages.",
                secret.fix,
            )


def look_from_inside(executor: LocalExecutor, found: list[Secret]) -> None:
    """Look for the secrets, and for files just put beside them, from where generated code will run.

    Raises `SandboxError` if any is seen.
    """
    if not executor.sandbox.tier.verified:
        return
    token = f".improve-canary-{os.urandom(8).hex()}"
    dataset = executor.dataset.folder
    hidden = [dataset / name for name in executor.dataset.files if name.startswith("hidden")]
    given = executor.given()
    files = [file for secret in found for file in _some_files(secret.path, given)]
    with _canaries([executor.folder, dataset.parent], token) as canaries:
        seen = executor.look([*hidden, *files, *canaries], token)
    if seen:
        raise SandboxError(
            f"Generated code would see {', '.join(seen[:3])} on this machine: the sandbox does not hide it.",
            "move it to another folder (outputs=DIR, cache_dir=DIR, dataset.path=DIR); sandbox=off runs all the same, "
            "and marks every score as unverified",
        )


def _some_files(folder: Path, given: list[Path]) -> list[Path]:
    """A few files below a folder, the outermost first, that belong to nothing that is shown or `given`."""
    found: list[Path] = []
    waiting = [folder]
    while waiting and len(found) < _SOME and len(waiting) < _MANY:
        try:
            entries = sorted(os.scandir(waiting.pop(0)), key=lambda entry: entry.name)
        except OSError:  # a file, not there yet, or closed to us and so to generated code
            continue
        files = [Path(entry.path) for entry in entries[:_MANY] if entry.is_file(follow_symlinks=False)]
        files = [path for path in files if not any(path.is_relative_to(other) for other in given)]
        found += [path for path in files if shown_in(path) is None][:_SOME]
        waiting += [Path(entry.path) for entry in entries[:_MANY] if entry.is_dir(follow_symlinks=False)]
    return found[:_SOME]


@contextmanager
def _canaries(folders: list[Path], token: str) -> Iterator[list[Path]]:
    """A file of an unguessable name in each folder, for as long as the block lasts."""
    with ExitStack() as stack:
        made = []
        for folder in dict.fromkeys(folders):
            path = folder / token
            path.touch()
            stack.callback(path.unlink, missing_ok=True)
            made.append(path)
        yield made
