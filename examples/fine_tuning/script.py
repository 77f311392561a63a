"""timm's fine-tuning by the clock: a head first, then all layers, rates falling towards the input, growing images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from examples.plain import Average, backbone, shifted, task

RATE, DECAY = 1e-3, 0.85


def main() -> None:
    given = task()
    body = backbone(given.weights)
    with torch.no_grad():
        features = body(given.images[:2])
    network = nn.Sequential(body, nn.Dropout(0.2), nn.Linear(features.shape[1], given.classes))
    stages = [*body.conv_stem.parameters(), *body.bn1.parameters()], *[list(b.parameters()) for b in body.blocks]
    late = [*body.conv_head.parameters(), *body.bn2.parameters()]
    parts = [*stages, late, list(network[2].parameters())]
    optimizer = torch.optim.AdamW(
        [{"params": part, "lr": RATE * DECAY ** (2 * (len(parts) - 1 - depth))} for depth, part in enumerate(parts)],
        weight_decay=0.05,
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    average = Average(network, 0.1)
    side = given.images.shape[2]
    for images, labels in given.batches(32):
        progress = given.progress()
        rate = progress / 0.1 if progress < 0.1 else 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))
        frozen = 6 if progress < 0.2 else 3  # parts, from the input on
        for depth, (part, group) in enumerate(zip(parts, optimizer.param_groups, strict=True)):
            group["lr"] = rate * rates[depth]
            for weight in part:
                weight.requires_grad_(depth >= frozen)
        network.train()
        for stage in list(body.blocks)[: frozen - 1]:
            stage.eval()
        share = min(1.0, 0.75 + 0.5 * progress)
        if share < 1:
            size = [max(8, round(share * side / 8) * 8)] * 2
            images = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        optimizer.zero_grad()
        logits = network(shifted(images, max(1, side // 16)))
        nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(network, progress)
    network.load_state_dict(average.held)
    network.eval()

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits

    given.report(answer)


if __name__ == "__main__":
    main()
