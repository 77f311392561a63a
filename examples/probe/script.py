"""A frozen network's features, computed once; logistic regression on them, then a head that sees mirrored ones."""

from __future__ import annotations

import torch
from torch import nn

from examples.plain import backbone, task


def main() -> None:
    given = task()
    network = backbone(given.weights).eval()
    with torch.no_grad():
        plain, mirrored = (
            torch.cat([network(part if not flip else part.flip(3)) for part in given.images.split(64)])
            for flip in (False, True)
        )
    head = nn.Linear(plain.shape[1], given.classes)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        penalty = 1e-3 * sum(weight.square().sum() for weight in head.parameters())
        total: torch.Tensor = nn.functional.cross_entropy(head(plain), given.labels) + penalty
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-4, weight_decay=0.01)
    epochs = 30
    for epoch in range(epochs):
        for rows in torch.randperm(len(plain)).split(256):
            if given.progress() >= 0.9:
                break
            features = torch.where(torch.rand(len(rows), 1) < 0.5, plain[rows], mirrored[rows])
            optimizer.param_groups[0]["lr"] = 2e-4 * (1 - epoch / epochs)
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features), given.labels[rows]).backward()
            optimizer.step()
    given.report(lambda images: head(network(images)))


if __name__ == "__main__":
    main()
