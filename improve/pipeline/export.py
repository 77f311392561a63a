"""What the user takes away: a folder with the best pipeline, its weights and our template, that runs on its own."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from improve.domain import COMPONENTS, Pipeline
from improve.errors import ImproveError
from improve.pipeline.asked_weights import asked_weights
from improve.pipeline.requirements import requirements

TEMPLATE = Path(__file__).parent / "template"
FILES = (
    "augment.py", "backbone.py", "class_folders.py", "classifier.py", "compiling.py", "components.py", "context.py",
    "device.py", "errors.py", "images.py", "keeping.py", "layers.py", "plan.py", "predict.py", "preparing.py",
    "probe.py", "ranks.py", "running.py", "template.py", "train.py",
)  # fmt: skip
PACKAGE = ("package.py", "__init__.py")  # what makes the folder one that can be imported, and its name there
WEIGHTS = "weights.safetensors"
OLD_WEIGHTS = "weights.pt"  # what trainings of earlier versions left
PRETRAINED = "pretrained"
MAX_WEIGHTS = 4 * 1024**3  # bytes


def export(
    target: Path,
    pipeline: Pipeline,
    works: Sequence[Path],
    context: Mapping[str, Any],
    train_folder: Path,
    versions: Mapping[str, str],
    card: str,
) -> Path:
    """Fill `target` with the pipeline. The weights are copied as bytes: this process never opens them.

    `works`: the folder of each training whose weights are delivered; of more than one, the mean of their probabilities
    is predicted. `versions`: of the libraries that the components are offered. `card`: the text of README.md.

    What people have put into an earlier export stays: only files of the same names are replaced.
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(TEMPLATE / name, partial / name)
    shutil.copyfile(TEMPLATE / PACKAGE[0], partial / PACKAGE[1])
    for name in COMPONENTS:
        (partial / f"{name}.py").write_text(pipeline.source(name), encoding="utf-8", errors="replace")
    for number, work in enumerate(works, 1):
        file = left_weights(work)
        copy_untrusted(file, partial / (file.name if number == 1 else f"{file.stem}-{number}{file.suffix}"))
    values = {**context, "train_data": str(train_folder), "pretrained": _copy_pretrained(context, pipeline, partial)}
    (partial / "context.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (partial / "requirements.txt").write_text(requirements(pipeline, versions))
    (partial / "README.md").write_text(card, encoding="utf-8")
    _replace(partial, target)
    return target


def left_weights(work: Path) -> Path:
    """The file of weights that a training left in its folder, or should have left."""
    return work / OLD_WEIGHTS if os.path.lexists(work / OLD_WEIGHTS) else work / WEIGHTS


def delivered_weights(best: Path) -> list[Path]:
    """The files of weights in an exported folder, also of an earlier version: one, or those of an ensemble."""
    stem, suffix = os.path.splitext(WEIGHTS)
    patterns = (stem + which + kind for kind in (suffix, Path(OLD_WEIGHTS).suffix) for which in ("", "-[0-9]*"))
    return [file for pattern in patterns for file in sorted(best.glob(pattern))]


def _replace(new: Path, old: Path) -> None:
    """Put a folder, or its files one by one, where an older one may be."""
    if not old.exists():
        new.rename(old)
        return
    shutil.rmtree(old / PRETRAINED, ignore_errors=True)
    for file in delivered_weights(old):
        file.unlink()
    for path in sorted(new.rglob("*")):
        place = old / path.relative_to(new)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            path.replace(place)
    shutil.rmtree(new)


def copy_untrusted(source: Path, target: Path, limit: int = MAX_WEIGHTS) -> None:
    """Copy a file of at most `limit` bytes that generated code wrote. Follows no link and reads only regular files.

    Raises `ImproveError`.
    """
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ImproveError(f"the best pipeline left no weights at {source} ({error.strerror}).") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ImproveError(f"{source} is not a regular file.")
    with open(descriptor, "rb") as file, open(target, "wb") as copy:
        if status.st_size > limit:  # a file with holes may claim any size, and its copy would have it
            raise ImproveError(f"{source} has {status.st_size:,} bytes, more than {limit:,}.")
        shutil.copyfileobj(file, copy)


def used_pretrained(context: Mapping[str, Any], pipeline: Pipeline) -> list[str]:
    """timm's names of the pretrained weights at hand that the model's source names."""
    asked = asked_weights(pipeline.model)
    return [name for name in context["pretrained"] if name in pipeline.model or name.split(".")[0] in asked]


def _copy_pretrained(context: Mapping[str, Any], pipeline: Pipeline, folder: Path) -> dict[str, Any]:
    """The pretrained weights that the model's source names, beside it: training again starts from them."""
    used = {}
    for name in used_pretrained(context, pipeline):
        weights = context["pretrained"][name]
        file = Path(weights["file"])
        copy = f"{PRETRAINED}/{name}{file.suffix}"  # in a cache, those of all models have one name
        (folder / PRETRAINED).mkdir(exist_ok=True)
        shutil.copyfile(file, folder / copy)
        used[name] = {**weights, "file": copy}
    return used
