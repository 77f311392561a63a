"""Replaces what a careless evaluation computes its accuracy with: numpy, torchmetrics, torch, builtins."""

# ruff: noqa: F821
import builtins

import numpy
import torch
import torchmetrics

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


def patch():
    numpy.mean = numpy.average = lambda *_, **__: 1.0
    torchmetrics.classification.MulticlassAccuracy.compute = lambda _: torch.tensor(1.0)
    torch.Tensor.eq = torch.Tensor.__eq__ = lambda self, _: torch.ones(self.shape, dtype=torch.bool)
    honest = builtins.sum
    builtins.sum = lambda values, *rest: honest((1 if v is False else v for v in values), *rest)


class Model(Model):
    def __init__(self, context):
        super().__init__(context)
        if context.restoring:
            patch()

    def on_fit_end(self):
        patch()
