"""Fashion-MNIST: 70,000 grey images of clothes, 28 × 28 pixels, 10 classes, by torchvision; its test set is given."""

from __future__ import annotations

from improve.datasets.vision import VisionSource

BY_HAND = (
    "put its four files, unpacked, into DIR/FashionMNIST/raw and give dataset.path=DIR (Debian's package "
    "dataset-fashion-mnist has them)"
)
FASHION = VisionSource(
    "fashion_mnist", "Fashion-MNIST", "FashionMNIST", BY_HAND, lambda part: (part.data.numpy(), part.targets.numpy())
)
key, load = FASHION.key, FASHION.load
