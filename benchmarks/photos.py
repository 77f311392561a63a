"""Photos by the product, beside a frozen probe and a plain fine-tuning script with the same seconds on one core.

By hand, after a run on each data set (`bash scripts/run.sh dataset=folder dataset.path=DIR executor.fit_seconds=60`):

    python benchmarks/photos.py RUN… --seconds 60 --seeds 3 --out results.jsonl

Of each run, its first and its best pipeline are trained again, and the two scripts with them, on the run's training
images; all are scored on its test images. Each training is a process of its own, on one thread, whose clock is the
processor's: on a busy machine it does what it would do in so many seconds of an idle one. What `--out` holds already is
not trained again, so the same command goes on where it was stopped.

- `probe`: one pass of EfficientNet-Lite0's frozen features, and logistic regression with the penalty that is best on a
  tenth of the images.
- `script`: the same network fine-tuned by a plain loop: AdamW, mirrored images, a cosine that follows the clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from improve.commands.verify import recorded_config, recorded_dataset
from improve.config.places import cache_folder
from improve.pipeline.export import TEMPLATE
from improve.pipeline.weights import PACKAGE_MODEL, prepared
from improve.record.history import History

KINDS = ("first", "best", "probe", "script")
BATCH = 64
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C
RATE, HEAD_RATE = 3e-4, 3e-3
TRAINED_SHARE = 0.95  # of the seconds, as the template plans


def trained(kind: str, run: Path, images: Path, seconds: float, seed: int) -> float:
    """Test accuracy of one training. To be called once a process, which then has the processor's clock."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    time.monotonic = time.process_time
    inputs = np.load(images / "test" / "images.npy", mmap_mode="r")
    labels = np.load(images / "hidden" / "test.npy")
    if kind in ("first", "best"):
        rows = by_product(run, run / "candidates" / "000" if kind == "first" else run / "best", images, seconds, seed)
    else:
        array, classes = np.load(images / "train" / "images.npy"), np.load(images / "train" / "labels.npy")
        rows = (probe if kind == "probe" else script)(array, classes, inputs, seconds)
    return float((rows.argmax(axis=1) == labels).mean())


def by_product(run: Path, pipeline: Path, images: Path, seconds: float, seed: int) -> np.ndarray:
    """One training of a pipeline by the template, in `seconds`."""
    sys.path[:0] = [str(TEMPLATE), str(pipeline)]
    import tempfile

    import classifier  # type: ignore[import-not-found]
    import components  # type: ignore[import-not-found]
    import train  # type: ignore[import-not-found]
    from context import Context  # type: ignore[import-not-found]

    context = Context.load(run / "best" / "context.json")
    weights = {"file": str(prepared(PACKAGE_MODEL, cache_folder())), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    given = Context.from_dict({**context.as_dict(), "pretrained": {PACKAGE_MODEL: weights}})
    given = given.replace(fit_seconds=seconds, steps=0, reference=None, threads=1, seed=seed, accelerator="cpu")
    parts = components.load_components()
    array = np.load(images / "test" / "images.npy", mmap_mode="r")
    with tempfile.TemporaryDirectory() as out:
        train.fit(parts, given, images / "train", Path(out), lambda event: None)
        batches = (np.asarray(array[start : start + 256]) for start in range(0, len(array), 256))
        return np.concatenate(list(classifier.probabilities(parts, given, Path(out), batches)))


def network(classes: int) -> Any:
    """EfficientNet-Lite0 with its ImageNet weights and a new classifier; 0 classes: its features."""
    import timm

    overlay = {"file": str(prepared(PACKAGE_MODEL, cache_folder()))}
    return timm.create_model(PACKAGE_MODEL, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay)


def as_tensor(array: np.ndarray) -> Any:
    """uint8 `N × H × W × C` as the network was trained with: three channels, −1 to 1."""
    import torch

    images = torch.from_numpy(np.asarray(array).transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    return images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def probe(array: np.ndarray, labels: np.ndarray, test: np.ndarray, seconds: float) -> np.ndarray:
    """Of as many training images as there is time to look at, leaving a fifth of it to fit."""
    import torch
    from sklearn.linear_model import LogisticRegression

    model = network(0).eval().to(memory_format=torch.channels_last)

    def features(images: np.ndarray, until: float) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                found.append(model(as_tensor(images[start : start + BATCH])).numpy())
                if time.process_time() > until:
                    break
        return np.concatenate(found)

    order = np.random.default_rng(0).permutation(len(labels))
    known = features(array[order], time.process_time() + 0.8 * seconds)
    targets = labels[order][: len(known)]
    mean, std = known.mean(axis=0), known.std(axis=0) + 1e-6
    known, held = (known - mean) / std, len(known) // 10
    fits = [LogisticRegression(C=c, max_iter=300).fit(known[held:], targets[held:]) for c in PENALTIES]
    best = max(fits, key=lambda fit: fit.score(known[:held], targets[:held]))
    given: np.ndarray = best.predict_proba((features(test, np.inf) - mean) / std)
    return given


def script(array: np.ndarray, labels: np.ndarray, test: np.ndarray, seconds: float) -> np.ndarray:
    """Fine-tuning as in a tutorial."""
    import math

    import torch

    model = network(int(labels.max()) + 1).to(memory_format=torch.channels_last).train()
    head = model.get_classifier().parameters()
    inner = [p for name, p in model.named_parameters() if not name.startswith("classifier")]
    groups = [{"params": inner, "lr": RATE}, {"params": head, "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    rates = [group["lr"] for group in groups]
    began, progress = time.process_time(), 0.0
    while progress < 1:
        order = torch.randperm(len(labels)).numpy()
        for start in range(0, max(1, len(labels) - BATCH), BATCH):
            progress = (time.process_time() - began) / (TRAINED_SHARE * seconds)
            if progress >= 1:
                break
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * progress)) / 2
            rows = order[start : start + BATCH]
            images = as_tensor(array[rows])
            images = torch.where((torch.rand(len(images)) < 0.5)[:, None, None, None], images.flip(3), images)
            loss = torch.nn.functional.cross_entropy(model(images), torch.from_numpy(labels[rows]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        return np.concatenate(
            [model(as_tensor(test[start : start + 256])).softmax(1).numpy() for start in range(0, len(test), 256)]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path, default=Path("photos.jsonl"))
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one training, for a process of its own: KIND IMAGES SEED
    arguments = parser.parse_args()
    if arguments.one:
        kind, images, seed = json.loads(arguments.one)
        print(trained(kind, arguments.runs[0].absolute(), Path(images), arguments.seconds, seed))
        return
    arguments.out.touch()
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    for run in arguments.runs:
        history = History.read(run)
        config = recorded_config(history)
        dataset, why = recorded_dataset(config, cache_folder(config.cache_dir))
        if dataset is None:
            sys.exit(f"the images of {run} are not at hand: {why}")
        for seed in range(arguments.seeds):
            for kind in arguments.kinds:
                key = {"data": dataset.name, "kind": kind, "seed": seed, "seconds": arguments.seconds}
                if any(key.items() <= row.items() for row in done):
                    continue
                one = ["--one", json.dumps([kind, str(dataset.folder), seed]), "--seconds", str(arguments.seconds)]
                given = subprocess.run([sys.executable, __file__, str(run), *one], stdout=subprocess.PIPE, check=True)
                done.append({**key, "accuracy": float(given.stdout)})
                with arguments.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    for data in dict.fromkeys(row["data"] for row in done):
        for kind in KINDS:
            found = [row["accuracy"] for row in done if row["data"] == data and row["kind"] == kind]
            if found:
                each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in found)
                print(f"{data:<16} {kind:<7} {100 * fmean(found):.1f}%  ({each})")


if __name__ == "__main__":
    main()
