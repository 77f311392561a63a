"""The airbench recipe by the clock: whitened patches, label smoothing, Nesterov, a triangular schedule, two views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.plain import Average, shifted, task

WIDTHS = (32, 64, 64)  # narrower than airbench's, for a core
BATCH, HIGHEST = 128, 0.1


def group(inputs: int, outputs: int) -> nn.Sequential:
    def convolution(channels: int) -> nn.Conv2d:
        return nn.Conv2d(channels, outputs, 3, padding="same", bias=False)

    def norm() -> nn.BatchNorm2d:
        return nn.BatchNorm2d(outputs, momentum=0.4)

    return nn.Sequential(
        convolution(inputs), nn.MaxPool2d(2), norm(), nn.GELU(), convolution(outputs), norm(), nn.GELU()
    )


def whitening(images: Tensor) -> nn.Conv2d:
    """2 × 2 filters that give uncorrelated values of equal variance, and their negatives."""
    channels = images.shape[1]
    patches = nn.functional.unfold(images.contiguous(), 2, stride=2).transpose(1, 2).reshape(-1, channels * 4)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, channels, 2, 2)
    layer = nn.Conv2d(channels, 8 * channels, 2, bias=False)
    layer.weight = nn.Parameter(torch.cat([filters, -filters]), requires_grad=False)
    return layer


def main() -> None:
    given = task()
    first = whitening(given.images[:1000])
    inputs = (first.out_channels, *WIDTHS[:-1])
    network = nn.Sequential(
        first, nn.GELU(), *(group(*pair) for pair in zip(inputs, WIDTHS, strict=True)),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], given.classes, bias=False),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=HIGHEST, momentum=0.85, nesterov=True, weight_decay=5e-4)
    average = Average(network, 0.05)
    for images, labels in given.batches(BATCH):
        p = given.progress()
        optimizer.param_groups[0]["lr"] = HIGHEST * (0.2 + 4 * p if p < 0.2 else max(0.01, (1 - p) / 0.8))
        optimizer.zero_grad()
        logits = network(shifted(images, 2)) / 3
        nn.functional.cross_entropy(logits, labels, label_smoothing=0.2).backward()
        optimizer.step()
        average.update(network, p)
    network.load_state_dict(average.held)
    network.eval()

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits

    given.report(answer)


if __name__ == "__main__":
    main()
