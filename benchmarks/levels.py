"""What a linear classifier gains where it sees earlier stages of a frozen network, too (`levels` of its backbone).

    python -m benchmarks.levels DATASET

DATASET is a prepared data set of the cache, with its hidden test labels. One thread; features once; then the classifier
that `probe = True` gives, three times, with another tenth of the training images to choose its penalty by.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np

from improve.config.places import cache_folder
from improve.datasets.dataset import IMAGES, LABELS
from improve.pipeline.export import TEMPLATE
from improve.pipeline.weights import pretrained

LEVELS = (0, 1, 2, 3, 4)
SPLITS = 3
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dataset", type=Path)
    folder: Path = parser.parse_args().dataset
    sys.path.insert(0, str(TEMPLATE))  # whose files import each other by their bare names
    import torch

    backbones, contexts, probe = (importlib.import_module(name) for name in ("backbone", "context", "probe"))
    torch.set_num_threads(1)
    name, weights = next(iter(pretrained(cache_folder(None)).items()))
    images = {part: np.load(folder / part / IMAGES, mmap_mode="r") for part in ("train", "test")}
    labels = torch.from_numpy(np.load(folder / "train" / LABELS))
    wanted = torch.from_numpy(np.load(folder / "hidden" / "test.npy"))
    height, width = images["train"].shape[1:3]
    context = contexts.Context.from_dict(
        {
            "classes": [str(label) for label in range(int(labels.max()) + 1)], "height": height, "width": width,
            "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "train_images": len(labels),
            "images_per_class": torch.bincount(labels).tolist(), "pretrained": {name: weights},
        }
    )  # fmt: skip

    def features(levels: int, part: str) -> torch.Tensor:
        backbone = (
            backbones.pretrained_backbone(context, name, levels=levels).eval().to(memory_format=torch.channels_last)
        )
        with torch.no_grad():
            batches = (np.array(images[part][i : i + BATCH]) for i in range(0, len(images[part]), BATCH))
            seen = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255 for batch in batches)
            return torch.cat([backbone((batch - 0.5) / 0.25) for batch in seen])

    for levels in LEVELS:
        train, test = features(levels, "train"), features(levels, "test")
        right = []
        for split in range(SPLITS):
            order = torch.from_numpy(np.random.default_rng(split).permutation(len(labels)))
            head = probe.fitted_head(train[order], labels[order], len(labels) // 10, len(context.classes))
            answers = (test @ head["weight"].T + head["bias"]).argmax(dim=1)
            right.append(100 * float((answers == wanted).float().mean()))
        print(f"{name}, {train.shape[1]} features, levels={levels}: {', '.join(f'{r:.1f}' for r in right)} % on test")


if __name__ == "__main__":
    main()
