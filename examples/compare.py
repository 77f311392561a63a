"""Train recipes both ways, one after the other with the same seconds: python -m examples.compare FOLDER RECIPE…

FOLDER holds `images.npy` and `labels.npy`. A fifth of the images, the same for all, is what both are asked about. Each
training has one thread of a process of its own, whose clock is the processor's: other programs take nothing from it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from improve.config.places import cache_folder
from improve.domain import COMPONENTS
from improve.pipeline.export import TEMPLATE
from improve.pipeline.weights import pretrained

HERE = Path(__file__).resolve().parent
TESTED = 5  # one image of so many
CLOCK = "import time; time.monotonic = time.process_time\n"  # before anything else is imported
SCRIPT = "import runpy, sys; runpy.run_module(sys.argv.pop(1), run_name='__main__')\n"
ANSWER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from components import load_components
from context import Context
from classifier import probabilities
from train import fit
here, folder, test = map(Path, sys.argv[1:4])
context, components = Context.load(here / "context.json"), load_components()
context = fit(components, context, folder, here, lambda event: None)
held = np.load(test)
rows = np.concatenate(list(probabilities(components, context, here, iter(np.array_split(held["images"], 50)))))
print(f"accuracy {(rows.argmax(1) == held['labels']).mean():.4f}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recipes", nargs="+", choices=["probe", "fine_tuning", "airbench"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        split(given.folder, place)
        for recipe in given.recipes:
            for seed in range(given.seeds):
                ours = components(recipe, place, given.seconds, seed)
                theirs = script(recipe, place, given.seconds, seed)
                print(f"{recipe}  seed {seed}  components {ours:.1%}  script {theirs:.1%}", flush=True)


def split(folder: Path, place: Path) -> None:
    """A folder `train` as the template reads it, and `train.npz` and `test.npz` as the scripts do."""
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    tested = np.zeros(len(labels), dtype=bool)
    tested[np.random.default_rng(0).permutation(len(labels))[: len(labels) // TESTED]] = True
    (place / "train").mkdir()
    np.save(place / "train/images.npy", images[~tested])
    np.save(place / "train/labels.npy", labels[~tested])
    np.savez(place / "train.npz", images=images[~tested], labels=labels[~tested])
    np.savez(place / "test.npz", images=images[tested], labels=labels[tested])


def context(place: Path, seconds: float, seed: int) -> dict[str, Any]:
    images, labels = np.load(place / "train/images.npy", mmap_mode="r"), np.load(place / "train/labels.npy")
    sample = images[:: max(1, len(images) // 500)].astype(np.float64) / 255
    counts = np.bincount(labels)
    return {
        "classes": [str(name) for name in range(len(counts))],
        "height": images.shape[1], "width": images.shape[2], "channels": images.shape[3],
        "mean": sample.mean((0, 1, 2)).tolist(), "std": sample.std((0, 1, 2)).tolist(),
        "train_images": len(labels), "images_per_class": counts.tolist(), "seed": seed, "fit_seconds": seconds,
        "refit": True,  # the scripts learn from all images, too
        "accelerator": "cpu", "pretrained": pretrained(cache_folder(None)),
    }  # fmt: skip


def components(recipe: str, place: Path, seconds: float, seed: int) -> float:
    """The accuracy of the three components in the template."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for file in TEMPLATE.glob("*.py"):
            shutil.copy(file, folder)
        for name in COMPONENTS:
            shutil.copy(HERE / recipe / f"{name}.py", folder)
        Path(folder, "context.json").write_text(json.dumps(context(place, seconds, seed)))
        return _accuracy(
            [sys.executable, "-c", CLOCK + ANSWER, folder, str(place / "train"), str(place / "test.npz")], recipe
        )


def script(recipe: str, place: Path, seconds: float, seed: int) -> float:
    """The accuracy of the plain script."""
    weights = pretrained(cache_folder(None)).get("tf_efficientnet_lite0")
    command = [sys.executable, "-c", CLOCK + SCRIPT, f"examples.{recipe}.script"]
    command += [str(place / "train.npz"), str(place / "test.npz")]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    return _accuracy([*command, *(["--weights", weights["file"]] if weights else [])], f"{recipe}'s script")


def _accuracy(command: list[str], what: str) -> float:
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
    found = re.search(r"^accuracy (\S+)$", done.stdout, re.MULTILINE)
    if not found:
        raise SystemExit(f"{what} gave no accuracy:\n{done.stdout}{done.stderr}")
    return float(found[1])


if __name__ == "__main__":
    main()
