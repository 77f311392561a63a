"""Answers with tensors that claim to be equal to everything."""

# ruff: noqa: F821
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


class Liar(torch.Tensor):
    __hash__ = torch.Tensor.__hash__

    def __eq__(self, other):
        return torch.ones(self.shape, dtype=torch.bool)


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        return logits if self.training else logits.as_subclass(Liar)
