import torch
from template import ImageClassifier
from torch import nn
from torch.nn.functional import unfold

WIDTHS, NARROW = (64, 256, 256), (32, 64, 64)  # on a GPU, and for a core of a CPU


def group(inputs, outputs):
    def convolution(channels):
        return nn.Conv2d(channels, outputs, 3, padding="same", bias=False)

    def norm():
        return nn.BatchNorm2d(outputs, momentum=0.4)

    return nn.Sequential(
        convolution(inputs), nn.MaxPool2d(2), norm(), nn.GELU(), convolution(outputs), norm(), nn.GELU()
    )


class Model(ImageClassifier):
    label_smoothing = 0.2
    views = "mirrored"

    def __init__(self, context):
        super().__init__(context)
        widths = NARROW if context.accelerator == "cpu" else WIDTHS
        values = context.channels * 4  # of a patch of 2 × 2 pixels
        self.whiten = nn.Conv2d(context.channels, 2 * values, 2, bias=False)
        self.whiten.weight.requires_grad_(False)
        inputs = (2 * values, *widths[:-1])
        self.groups = nn.Sequential(
            nn.GELU(), *(group(*pair) for pair in zip(inputs, widths, strict=True)), nn.AdaptiveMaxPool2d(1)
        )
        self.head = nn.Linear(widths[-1], context.num_classes, bias=False)

    def initialize(self, images):
        patches = (
            unfold(images[:1000].contiguous(), 2, stride=2).transpose(1, 2).reshape(-1, self.whiten.in_channels * 4)
        )
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, *self.whiten.weight.shape[1:])
        self.whiten.weight.data = torch.cat([filters, -filters]).contiguous(memory_format=torch.channels_last)

    def forward(self, images):
        return self.head(self.groups(self.whiten(images)).flatten(1)) / 3
