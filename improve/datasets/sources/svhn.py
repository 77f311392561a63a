"""SVHN: 99,289 house numbers, 32 × 32 colour pixels, the digit in the middle, by torchvision; its test set is given.

The 531,131 "extra" images are left out, as in the Visual Task Adaptation Benchmark.
"""

from __future__ import annotations

from improve.datasets.vision import VisionSource

BY_HAND = (
    "get train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers, put them into a folder and "
    "give it as dataset.path=DIR"
)
SVHN = VisionSource(
    name="svhn",
    title="SVHN",
    kind="SVHN",
    by_hand=BY_HAND,
    # torchvision gives channels first, and the digit 0, which the files call 10, as class 0.
    arrays=lambda part: (part.data.transpose(0, 2, 3, 1), part.labels),
    train=(("split", "train"),),
    test=(("split", "test"),),
    classes=tuple("0123456789"),
)
key, load = SVHN.key, SVHN.load
