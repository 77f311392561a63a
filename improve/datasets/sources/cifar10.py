"""CIFAR-10: 60,000 colour photos of 32 × 32 pixels in 10 classes, by torchvision; its test set is given."""

from __future__ import annotations

import numpy as np

from improve.datasets.vision import VisionSource

NAME = "cifar10"
BY_HAND = (
    "get cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, put it into a folder, unpacked or "
    "not, and give that folder as dataset.path=DIR"
)
CIFAR10 = VisionSource(NAME, "CIFAR-10", "CIFAR10", BY_HAND, lambda part: (part.data, np.array(part.targets)))
key, load = CIFAR10.key, CIFAR10.load
