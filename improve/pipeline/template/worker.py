"""The process inside the sandbox: runs each command of its standard input in a fork.

A command is a line of JSON: `{"command": "smoke" | "fit" | "samples" | "predict" | "onnx", …}`. Events and the end
of each command go to the descriptor STATUS as lines of JSON. Nobody trusts them: they drive the display and the
engineers' hints, never a score. Importing this module takes seconds; a process that has done so, and nothing else,
forks `main` for each sandbox. No tensor operation runs there, because a fork of a process with threads may hang.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import unused

with unused.left_out():
    import numpy.ma  # imported for the forks
    import timm  # noqa: F401
    import torch
    import torchmetrics  # noqa: F401
    import torchvision.transforms.v2  # noqa: F401

import classifier
import components
import numpy as np
import ranks
import samples
import smoke
import to_onnx
import train
from context import Context
from device import memory_figures
from template import ContractError, NonFiniteLoss

STATUS = 3
# Libraries whose errors tell that a file was to be fetched.
DOWNLOADERS = ("urllib", "http", "urllib3", "requests", "httpx", "httpcore", "huggingface_hub")
LIBRARIES = (
    "torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics", "numpy", "PIL", "scipy", "sklearn",
)  # fmt: skip
MESSAGE_LENGTH = 2000
END_FRAMES = 2
DETAIL_LENGTH = 6000


def classify(error: BaseException) -> str:
    """A `domain.Reason` for what a component raised."""
    text = str(error).lower()
    if isinstance(error, SyntaxError):
        return "syntax"
    if isinstance(error, ImportError):
        return "import"
    if isinstance(error, ContractError) or wanted_to_download(error):
        return "contract"
    if isinstance(error, NonFiniteLoss):
        return "nan"
    if (
        isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError))
        or "out of memory" in text
        or "can't allocate" in text
    ):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "disk full"
    if isinstance(error, (RuntimeError, ValueError)) and any(word in text for word in ("shape", "size", "dimension")):
        return "shape"
    return "crash"


def wanted_to_download(error: BaseException) -> bool:
    """Whether the error comes from a library that fetches files: most often weights that are not at hand."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__module__.split(".")[0] in DOWNLOADERS:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def message(error: BaseException, context: dict[str, Any]) -> str:
    """One line for the engineer."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        return f"{said} here. What can be imported: {', '.join(LIBRARIES)} and the standard library."
    if wanted_to_download(error):
        at_hand = ", ".join(context.get("pretrained", {})) or "none"
        first = said.split("\n", 1)[0][:200]
        return (
            f"nothing can be downloaded here ({first}). Pretrained weights at hand: {at_hand}; "
            "pretrained_backbone(context, NAME) of template loads them, pretrained=False builds a network without."
        )
    if classify(error) == "out of memory":
        figures = memory_figures(context)
        return f"{said.rstrip('.')}. {figures} A smaller batch or network needs less." if figures else said
    return said


def culprit(error: BaseException, folder: str) -> str | None:
    """The component whose code is deepest in the traceback; a syntax error's own file; or the one a message names."""
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename).stem
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.dirname(frame.filename) == folder:
            return Path(frame.filename).stem
    first = str(error).split(":", 1)[0]
    return first.removesuffix(".py") if first in ("data.py", "model.py", "training.py") else None


def short_traceback(error: BaseException, folder: str) -> str:
    """The traceback from the first frame in a component on: what its engineer can act on. Without one, its end."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = (i for i, frame in enumerate(frames) if os.path.dirname(frame.filename) == folder)
    first = next(ours, max(0, len(frames) - END_FRAMES))
    text = "".join(traceback.format_list(frames[first:])) + "".join(traceback.format_exception_only(error))
    return text.replace(folder + "/", "")[-DETAIL_LENGTH:]


class Status:
    """Writes lines of JSON to the status descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __call__(self, event: dict[str, Any]) -> None:
        data = (json.dumps(event) + "\n").encode()
        while data:
            data = data[os.write(self.descriptor, data) :]


def run(command: dict[str, Any], status: Status) -> None:
    """Carry out one command in this (forked) process."""
    if command["command"] == "look":
        look(command, status)
        return
    folder = command["pipeline"]
    sys.path.insert(0, folder)
    context = Context.from_dict(command["context"])
    if command["command"] == "fit" and context.processes > 1:
        fit_together(command, context, status)
        return
    parts = components.load_components()
    if command["command"] == "smoke":
        smoke.smoke(parts, context, Path(command["data"]))
    elif command["command"] == "fit":
        train.fit(parts, context, Path(command["data"]), Path(command["work"]), status)
    elif command["command"] == "predict":
        send_predictions(parts, context, command)
    elif command["command"] == "onnx":
        to_onnx.write(parts, context, Path(command["weights"]), Path(command["work"]))
        file = Path(command["work"]) / to_onnx.FILE
        send(to_onnx.answers(file, context.threads, batches_of(command)), command)
    elif command["command"] == "samples":
        pixels = samples.augmented(parts, context, Path(command["data"]), command["rows"], command["side"])
        with open(command["descriptor"], "wb", closefd=False) as pipe:
            pipe.write(pixels.tobytes())


def fit_together(command: dict[str, Any], context: Context, status: Status) -> None:
    """Train in a process for each device, with those of the other nodes if there are any."""
    node = ranks.Node(**command.get("node", {}))
    data, out = Path(command["data"]), Path(command["work"])

    def body(own: Context) -> None:
        train.fit(components.load_components(), own, data, out, status)

    code = ranks.run(context, out, body, lambda error: tell(error, command, status), node)
    if code:
        os._exit(code if code > 0 else 1)  # what went wrong has been told


def look(command: dict[str, Any], status: Status) -> None:
    """Tell what is in sight here of what must not be: folders and files, and names that hold the token."""
    seen = [path for path in command["paths"] if in_sight(path)]
    roots = ["/"] if os.access("/", os.R_OK) else [*sys.path, *(str(folder) for folder in Path.cwd().parents)]
    if command["token"]:
        seen += [path for path in below(roots) if command["token"] in os.path.basename(path)]
    status({"event": "seen", "paths": seen[:10]})


def below(roots: list[str]) -> Iterator[str]:
    """All folders and files that can be listed, without following links. `os.walk` would fail on deep nesting."""
    left = list(roots)
    while left:
        try:
            entries = list(os.scandir(left.pop()))
        except OSError:
            continue
        for entry in entries:
            yield entry.path
            if entry.is_dir(follow_symlinks=False) and entry.path not in ("/proc", "/sys"):
                left.append(entry.path)


def in_sight(path: str) -> bool:
    """Whether a file can be read or a folder be listed. Where there is nothing, or we may not, it is not."""
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").close()
    except OSError:
        return False
    return True


def send_predictions(parts: components.Components, context: Context, command: dict[str, Any]) -> None:
    """Probabilities of the command's images, to its descriptor."""
    send(classifier.probabilities(parts, context, Path(command["work"]), batches_of(command)), command)


def batches_of(command: dict[str, Any]) -> Iterator[np.ndarray]:
    """The command's images, uint8 `N × H × W × C`: the first `alone` one by one, then batch by batch."""
    images = np.load(Path(command["data"]) / "images.npy", mmap_mode="r")
    alone = command.get("alone", 0)
    starts = [*range(alone), *range(alone, len(images), classifier.BATCH)]
    for i, j in zip(starts, [*starts[1:], len(images)], strict=True):
        yield np.asarray(images[i:j])


def send(given: Iterator[np.ndarray], command: dict[str, Any]) -> None:
    """Write rows as little-endian float32 to the command's descriptor."""
    with open(command["descriptor"], "wb", closefd=False) as pipe:
        for rows in given:
            pipe.write(rows.astype("<f4").tobytes())


def keep_to(lane: dict[str, Any]) -> None:
    """Use what this process has of the machine where others run beside it, and no more. Nothing has used a GPU yet."""
    if lane.get("cores"):
        os.sched_setaffinity(0, lane["cores"])
    if lane.get("gpu") is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(lane["gpu"])


def run_forked(command: dict[str, Any], status: Status) -> int:
    """Run the command in a child and return its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    code = 1
    try:
        keep_to(command.get("lane", {}))
        run(command, status)
        code = 0
    except BaseException as error:  # noqa: BLE001  # the border of the sandbox: all that a component raises is reported
        tell(error, command, status)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tell(error: BaseException, command: dict[str, Any], status: Status) -> None:
    """Report what a component raised, or we ourselves."""
    folder = command.get("pipeline", "-")
    print(short_traceback(error, folder), file=sys.stderr)
    status(
        {
            "event": "error",
            "reason": classify(error),
            "component": culprit(error, folder),
            "message": message(error, command.get("context", {}))[:MESSAGE_LENGTH],
            "detail": short_traceback(error, folder),
        }
    )


def main() -> None:
    status = Status(STATUS)
    status({"event": "ready"})
    for line in sys.stdin:
        outcome = run_forked(json.loads(line), status)
        signal = outcome & 0x7F
        status({"event": "end", "exit": outcome >> 8, "signal": signal})
