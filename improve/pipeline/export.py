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

TEMPLATE = Path(__file__).parent / "template"
FILES = (
    "augment.py", "backbone.py", "class_folders.py", "components.py", "context.py", "device.py", "errors.py",
    "images.py", "keeping.py", "layers.py", "plan.py", "predict.py", "preparing.py", "probe.py", "running.py",
    "template.py", "train.py",
)  # fmt: skip
WEIGHTS = "weights.pt"
FURTHER_WEIGHTS = "weights-*.pt"  # those of an ensemble's further members, from weights-2.pt on
PRETRAINED = "pretrained"
MAX_WEIGHTS = 4 * 1024**3  # bytes
README = """# An image classifier for {classes} classes, made by improve

    pip install -r requirements.txt
    python predict.py IMAGES… --out predictions.csv    # files or folders → class and probability of each image
    python train.py                                    # trains again on the run's images, into trained/
    python train.py --data DIR                         # … on yours: one folder for each class

data.py, model.py and training.py were written by {author}; the other files are improve's template (Apache-2.0).
Classes: {names}
"""


ENSEMBLE = """
There are the weights of {members} trainings, and what is predicted is the mean of their probabilities: a prediction
takes {members} times as long as that of one. Without the files weights-2.pt and so on, weights.pt alone predicts.
"""


def export(
    target: Path,
    pipeline: Pipeline,
    works: Sequence[Path],
    context: Mapping[str, Any],
    train_folder: Path,
    versions: Mapping[str, str],
    author: str,
) -> Path:
    """Fill `target` with the pipeline. The weights are copied as bytes: this process never opens them.

    `works`: the folder of each training whose weights are delivered; of more than one, the mean of their probabilities
    is predicted.

    What people have put into an earlier export stays: only files of the same names are replaced.
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(TEMPLATE / name, partial / name)
    for name in COMPONENTS:
        (partial / f"{name}.py").write_text(pipeline.source(name), encoding="utf-8", errors="replace")
    for number, work in enumerate(works, 1):
        copy_untrusted(
            work / WEIGHTS, partial / (WEIGHTS if number == 1 else FURTHER_WEIGHTS.replace("*", str(number)))
        )
    values = {**context, "train_data": str(train_folder), "pretrained": _copy_pretrained(context, pipeline, partial)}
    (partial / "context.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    needed = {**versions, "pillow": "", "numpy": ""}
    lines = [f"{name.replace('_', '-')}{f'=={v}' if v else ''}" for name, v in sorted(needed.items())]
    (partial / "requirements.txt").write_text("\n".join(lines) + "\n")
    names = ", ".join(context["classes"])
    text = README.format(classes=len(context["classes"]), author=author, names=names)
    if len(works) > 1:
        text += ENSEMBLE.format(members=len(works))
    (partial / "README.md").write_text(text, encoding="utf-8")
    _replace(partial, target)
    return target


def _replace(new: Path, old: Path) -> None:
    """Put a folder, or its files one by one, where an older one may be."""
    if not old.exists():
        new.rename(old)
        return
    shutil.rmtree(old / PRETRAINED, ignore_errors=True)
    for file in old.glob(FURTHER_WEIGHTS):
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


def _copy_pretrained(context: Mapping[str, Any], pipeline: Pipeline, folder: Path) -> dict[str, Any]:
    """The pretrained weights that the model's source names, beside it: training again starts from them."""
    used = {}
    asked = asked_weights(pipeline.model)
    for name, weights in context["pretrained"].items():
        if name in pipeline.model or name.split(".")[0] in asked:
            file = Path(weights["file"])
            copy = f"{PRETRAINED}/{name}{file.suffix}"  # in a cache, those of all models have one name
            (folder / PRETRAINED).mkdir(exist_ok=True)
            shutil.copyfile(file, folder / copy)
            used[name] = {**weights, "file": copy}
    return used
