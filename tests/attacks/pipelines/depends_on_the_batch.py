"""Leaves batch normalisation in training mode, so that an answer depends on the other images of its batch."""

# ruff: noqa: F821
from torch import nn

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "audit: bad predictions"}


class Model(Model):
    def __init__(self, context):
        super().__init__(context)
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4), nn.BatchNorm1d(4)
        )

    def train(self, mode=True):
        return super().train(True)
