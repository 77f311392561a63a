"""The trained classifier, to be called: new images in, classes and probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from components import Components, load_components
from context import Context
from images import Preparation, load_image, to_array
from keeping import load_weights, weight_names
from PIL.Image import Image
from template import to_tensor
from torch import Tensor, nn

BATCH = 256


class Trained(nn.Module):
    """The networks of a folder with their weights, and all that is done to an image before and after them.

    Takes prepared images, uint8 `N × C × H × W`, and gives class probabilities, float32 `N × K`: where there are the
    weights of several trainings, the mean of theirs.
    """

    def __init__(self, components: Components, context: Context, weights: Path) -> None:
        super().__init__()
        gpu = torch.cuda.is_available() and context.accelerator != "cpu"
        self.device = torch.device("cuda" if gpu else "cpu")
        self.members = nn.ModuleList()
        for name in weight_names(weights):
            model = components.build_model(context.replace(restoring=True))
            load_weights(model, weights, name)
            model.told.value = 1.0
            self.members.append(model.to(self.device).eval())
        data = components.build_data(context)
        data.told.value = 1.0
        self.transforms = [data.eval_transform()]  # in a list: not a part that moves to the device

    def forward(self, images: Tensor) -> Tensor:
        images = self.transforms[0](images).to(self.device)
        given = [model.answer(images).float().softmax(dim=1) for model in self.members]  # type: ignore[operator]
        return torch.stack(given).mean(dim=0)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities `N × K` (float32) of a batch of prepared images, uint8 `N × H × W × C`."""
        with torch.inference_mode():
            probabilities: np.ndarray = self(to_tensor(batch)).cpu().numpy()
        return probabilities


class Classifier:
    """The pipeline of a folder, trained.

    `classes` are the names of the K classes. An image is given as the path of a file, as an open file, or as one of
    Pillow's; any size will do.
    """

    def __init__(self, folder: Path | str, weights: Path | str | None = None) -> None:
        """`folder`: where the template lies. `weights`: the folder of another training's weights, with its classes.

        The folder has to be on Python's path (`load` of the package sees to that).
        """
        folder = Path(folder)
        chosen = Path(weights or folder)
        described = chosen if (chosen / "context.json").exists() else folder
        self.context = Context.load(described / "context.json")
        self.classes = self.context.classes
        self._preparation = Preparation.of(vars(self.context))
        self._trained = Trained(load_components(), self.context, chosen)

    def probabilities(self, images: Iterable[Path | str | BinaryIO | Image]) -> np.ndarray:
        """Of each class for each image, float32 `N × K`. Raises `UnreadableImage` (a `ValueError`)."""
        rows = [np.empty((0, len(self.classes)), dtype=np.float32)]
        batch: list[np.ndarray] = []
        for image in images:
            batch.append(self.prepared(image))
            if len(batch) == BATCH:
                rows.append(self.predict(np.stack(batch)))
                batch = []
        return np.concatenate([*rows, *([self.predict(np.stack(batch))] if batch else [])])

    def __call__(self, images: Iterable[Path | str | BinaryIO | Image], top: int = 1) -> list[list[tuple[str, float]]]:
        """For each image its `top` likeliest classes, each with its probability, the likeliest first."""
        return [likeliest(row, self.classes, top) for row in self.probabilities(images)]

    def prepared(self, image: Path | str | BinaryIO | Image) -> np.ndarray:
        """An image as those of the training were prepared: uint8 `H × W × C`."""
        if isinstance(image, Image):
            return to_array(image.convert("RGB"), self._preparation)
        return load_image(image, self._preparation)

    def predict(self, prepared: np.ndarray) -> np.ndarray:
        """Probabilities `N × K` of prepared images, uint8 `N × H × W × C`."""
        return self._trained.predict(prepared)


def likeliest(probabilities: np.ndarray, classes: Sequence[str], top: int) -> list[tuple[str, float]]:
    """The `top` likeliest classes of one image's K probabilities."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[int(place)], float(probabilities[place])) for place in order]


def probabilities(
    components: Components, context: Context, weights: Path, batches: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """For each batch of prepared images (uint8 `N × H × W × C`), the class probabilities `N × K` (float32)."""
    torch.set_num_threads(context.threads)
    trained = Trained(components, context, weights)
    for batch in batches:
        yield trained.predict(batch)
