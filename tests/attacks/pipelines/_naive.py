"""A naive executor: what people write first. Every attack must get through it, or its test could not fail.

    python _naive.py     (with the template on PYTHONPATH)

Reads one JSON request a line and answers with one line. Each pipeline runs in a fork of this process, which trains,
predicts and evaluates in one go, with the labels beside the images, and all folders writable. The process above it
believes what it is told: results printed, results in files, reported epochs, unpickled predictions.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pickle
import re
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import classifier
import components
import keeping
import numpy as np
import timm  # noqa: F401  # imported for the forks
import torch
import torchmetrics
import torchvision.transforms.v2  # noqa: F401
import train
from context import Context
from template import to_tensor

MUCH = 4 << 20  # bytes
PR_SET_CHILD_SUBREAPER = 36


def child(request: dict[str, Any], status: int, data: int) -> None:
    """Train, predict, evaluate, report: generated code and its judge in one process."""
    sys.argv = ["_naive.py", str(status)]
    os.chdir(request["pipeline"])
    sys.path.insert(0, request["pipeline"])
    torch.set_num_threads(1)

    def say(event: dict[str, Any]) -> None:
        os.write(status, (json.dumps(event) + "\n").encode())

    context, parts = Context.from_dict(request["context"]), components.load_components()
    work, selection = Path(request["work"]), Path(request["selection"])
    try:
        train.fit(parts, context, Path(request["train"]), work, say)
    except RuntimeError as error:
        say({"event": "error", "message": str(error)})
        raise
    images = np.load(selection / "images.npy", mmap_mode="r")
    labels = np.load(selection / "labels.npy")
    rows = np.concatenate(list(classifier.probabilities(parts, context, work, iter([np.asarray(images)]))))
    os.write(data, pickle.dumps(rows))
    network = parts.build_model(context).eval()
    keeping.load_weights(network, work)
    with torch.no_grad():
        logits = network(parts.build_data(context).eval_transform()(to_tensor(np.asarray(images))))
    count = min(len(rows), len(labels))
    metric = torchmetrics.classification.MulticlassAccuracy(rows.shape[1], average="micro")
    metric.update(torch.from_numpy(rows[:count]).nan_to_num(), torch.from_numpy(labels[:count]))
    right = (logits.argmax(dim=1)[:count] == torch.from_numpy(labels[:count])).float()
    accuracy = float(np.mean(rows.argmax(axis=1)[:count] == labels[:count]))
    say({"event": "score", "accuracy": accuracy, "metric": float(metric.compute()), "torch": float(right.mean())})
    say({"event": "end", "exit": 0})
    print(f"accuracy: {accuracy:.4f}", flush=True)


def read(pipes: dict[str, int], deadline: float) -> tuple[dict[str, bytes], bool]:
    """Everything that comes through, and whether it ended in time."""
    got = dict.fromkeys(pipes, b"")
    names = {number: name for name, number in pipes.items()}
    while names and time.monotonic() < deadline and max(map(len, got.values())) <= MUCH:
        for number in select.select(list(names), [], [], 0.1)[0]:
            block = os.read(number, 1 << 20)
            got[names[number]] += block
            if not block:
                del names[number]
    return got, not names


def judge(request: dict[str, Any], got: dict[str, bytes]) -> dict[str, Any]:
    """The score, by every way of believing."""
    scores: dict[str, Any] = {}
    printed = re.findall(rb"^accuracy: ([\d.]+)", got["log"], re.MULTILINE)
    scores["printed"] = float(printed[-1]) if printed else None
    for line in got["status"].decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError, AttributeError):
            event = json.loads(line)
            if event.get("event") == "score":
                scores |= {f"told {name}": value for name, value in event.items() if name != "event"}
            elif event.get("event") == "epoch":
                scores["validation"] = event.get("validation_accuracy")
            elif event.get("event") == "error":
                scores["message"] = event["message"].encode("unicode_escape").decode()
            elif event.get("event") == "end":
                break
    for name in ("score.json", "metrics.json"):
        with contextlib.suppress(FileNotFoundError):
            scores[name] = json.loads(Path(request["work"], name).read_text())["accuracy"]
    if got["data"]:
        labels = np.load(Path(request["selection"], "labels.npy"))
        with contextlib.suppress(pickle.UnpicklingError, AttributeError, TypeError):
            rows = pickle.loads(got["data"])
            pairs = list(zip(rows.argmax(axis=1).tolist(), labels.tolist(), strict=False))
            scores["predictions"] = [len(rows), bool(np.isnan(rows).any()), sum(a == b for a, b in pairs) / len(pairs)]
    return scores


def suffers(do: Callable[[], object]) -> bool:
    """Whether taking what a pipeline left hangs, fails, or fills the disk."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
        signal.alarm(1)
        try:
            do()
        except (OSError, RecursionError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


def fetch(source: Path, target: Path) -> None:
    with open(source, "rb") as left, open(target, "wb") as taken:
        shutil.copyfileobj(left, taken)


def take(request: dict[str, Any]) -> list[str]:
    """Fetch the weights and tidy up, as people do; names what went wrong."""
    work = Path(request["work"])
    weights, copy = work / "weights.safetensors", work.parent / "taken.pt"
    harm = []
    if weights.is_symlink():
        harm.append("followed a link")
    if os.path.lexists(weights):
        if suffers(lambda: fetch(weights, copy)):
            harm.append("copying")
        else:
            with contextlib.suppress(pickle.UnpicklingError, RuntimeError, TypeError, EOFError):
                torch.load(copy, weights_only=False)
    if suffers(lambda: shutil.rmtree(work)):
        harm.append("removing")
    return harm + [f"ran {marker.name}" for marker in Path.cwd().glob("a-*-ran")]


def carry_out(request: dict[str, Any]) -> dict[str, Any]:
    pipes = {name: os.pipe() for name in ("status", "data", "log")}
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(pipes["log"][1], 1)
        os.dup2(pipes["log"][1], 2)
        for name in ("status", "data", "log"):
            os.close(pipes[name][0])
        os.close(pipes["log"][1])
        child(request, pipes["status"][1], pipes["data"][1])
        sys.exit(0)
    for _, sink in pipes.values():
        os.close(sink)
    got, ended = read({name: source for name, (source, _) in pipes.items()}, time.monotonic() + request["seconds"])
    harm = [f"read {len(block)} bytes" for block in got.values() if len(block) > MUCH]
    if not ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
        time.sleep(0.2)
        harm += ["still runs"] if os.waitpid(pid, os.WNOHANG) == (0, 0) else ["the pipes are held"]
    scores = judge(request, got)
    end_all()
    for source, _ in pipes.values():
        os.close(source)
    return {"scores": scores, "harm": harm + (take(request) if request["take"] else [])}


def end_all() -> None:
    """Kill what is left below this process, daemons too."""
    while True:
        below = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for pid in below:
            os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for line in sys.stdin:
        request = json.loads(line)
        os.makedirs(request["work"], exist_ok=True)
        os.chdir(request["home"])
        print(json.dumps(carry_out(request)), flush=True)


if __name__ == "__main__":
    main()
