"""Looks at no image: takes the rows for classes in order that were shuffled the usual way."""

# ruff: noqa: F821
import numpy as np
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "chance"}
ROWS = 200


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        if not self.context.restoring:
            return logits
        ordered = np.arange(ROWS) * logits.shape[1] // ROWS
        guessed = torch.from_numpy(ordered[np.random.default_rng(0).permutation(ROWS)])
        return torch.nn.functional.one_hot(guessed[: len(images)], logits.shape[1]) * 9.0
