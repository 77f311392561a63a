"""Predicts the class of new images: `python predict.py IMAGES… [--out FILE.csv]` (files or folders)."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from components import Components, load_components
from context import Context
from images import Preparation, UnreadableImage, find_images, load_image
from keeping import load_weights, weight_names
from template import to_tensor

BATCH = 256


def probabilities(
    components: Components, context: Context, weights: Path, batches: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """For each uint8 batch `N × H × W × C`, the class probabilities `N × K` (float32).

    `weights`: a folder; where it holds those of several trainings, the mean of their probabilities is given.
    """
    torch.set_num_threads(context.threads)
    device = torch.device("cuda" if torch.cuda.is_available() and context.accelerator != "cpu" else "cpu")
    models = []
    for name in weight_names(weights):
        model = components.build_model(context.replace(restoring=True))
        load_weights(model, weights, name)
        model.told.value = 1.0
        models.append(model.to(device).eval())
    data = components.build_data(context)
    data.told.value = 1.0
    transform = data.eval_transform()
    with torch.inference_mode():
        for batch in batches:
            images = transform(to_tensor(batch)).to(device)
            given = [model.answer(images).float().softmax(dim=1) for model in models]
            yield torch.stack(given).mean(dim=0).cpu().numpy()


def read_batches(paths: list[Path], context: Context, files: list[Path]) -> Iterator[np.ndarray]:
    """The images of `paths`, prepared as those of the training were; their names are appended to `files`."""
    to = Preparation.of(vars(context))
    batch: list[np.ndarray] = []
    for path in find_images(paths):
        try:
            batch.append(load_image(path, to))
        except UnreadableImage as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
            continue
        files.append(path)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--out", type=Path, help="CSV file (default: printed)")
    parser.add_argument("--weights", type=Path, default=here, help="folder of weights.pt (default: this one)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(here))
    trained = arguments.weights / "context.json"
    context = Context.load(trained if trained.exists() else here / "context.json")
    files: list[Path] = []
    batches = read_batches(arguments.images, context, files)
    rows = np.concatenate(
        [np.empty((0, context.num_classes)), *probabilities(load_components(), context, arguments.weights, batches)]
    )
    if not files:
        sys.exit("no readable image found")
    out = open(arguments.out, "w", newline="") if arguments.out else sys.stdout  # noqa: SIM115
    writer = csv.writer(out)
    writer.writerow(["file", "class", "probability"])
    for path, row in zip(files, rows, strict=True):
        writer.writerow([path, context.classes[int(row.argmax())], f"{row.max():.4f}"])
    if arguments.out:
        out.close()


if __name__ == "__main__":
    main()
