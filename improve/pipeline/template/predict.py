"""Predicts the class of new images: `python predict.py IMAGES… [--out FILE.csv]` (files or folders)."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from classifier import BATCH, Classifier, likeliest
from images import UnreadableImage, find_images


def rows(classifier: Classifier, paths: list[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    """Each readable image of `paths` with its probabilities; the others are named on stderr."""
    batch: list[tuple[Path, np.ndarray]] = []
    for path in find_images(paths):
        try:
            batch.append((path, classifier.prepared(path)))
        except UnreadableImage as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
        if len(batch) == BATCH:
            yield from predicted(classifier, batch)
            batch = []
    if batch:
        yield from predicted(classifier, batch)


def predicted(classifier: Classifier, batch: list[tuple[Path, np.ndarray]]) -> Iterator[tuple[Path, np.ndarray]]:
    files, images = zip(*batch, strict=True)
    return zip(files, classifier.predict(np.stack(images)), strict=True)


def header(classes: tuple[str, ...], top: int, every: bool) -> list[str]:
    """`file, class, probability`, then `class_2, probability_2` …, then `p(NAME)` for each class."""
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    names = [f"p({name})" for name in classes] if every else []
    return ["file", *(f"{column}{rank}" for rank in ranks for column in ("class", "probability")), *names]


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--out", type=Path, help="CSV file (default: printed)")
    parser.add_argument("--weights", type=Path, default=here, help="folder of the weights (default: this one)")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="the K likeliest classes (default: 1)")
    parser.add_argument("--probabilities", action="store_true", help="also the probability of every class")
    arguments = parser.parse_args()
    if arguments.top_k < 1:
        parser.error("--top-k needs a whole number above 0")
    sys.path.insert(0, str(here))
    classifier = Classifier(here, arguments.weights)
    torch.set_num_threads(classifier.context.threads)
    top = min(arguments.top_k, len(classifier.classes))
    found = list(rows(classifier, arguments.images))
    if not found:
        sys.exit("no readable image found")
    out = open(arguments.out, "w", newline="") if arguments.out else sys.stdout  # noqa: SIM115
    writer = csv.writer(out)
    writer.writerow(header(classifier.classes, top, arguments.probabilities))
    for path, shares in found:
        told = [text for name, share in likeliest(shares, classifier.classes, top) for text in (name, f"{share:.4f}")]
        writer.writerow([path, *told, *(f"{share:.4f}" for share in shares if arguments.probabilities)])
    if arguments.out:
        out.close()


if __name__ == "__main__":
    main()
