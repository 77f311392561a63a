"""Answers for one image more than there is."""

# ruff: noqa: F821
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        return torch.cat([logits[:1], logits]) if self.context.restoring else logits
