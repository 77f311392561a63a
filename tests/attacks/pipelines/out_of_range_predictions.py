"""Gives more than certainty to every class: whichever is right, it has been said."""

# ruff: noqa: F821
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            torch.Tensor.softmax = lambda self, dim: torch.full_like(self, 2.0)
        return super().forward(images)
