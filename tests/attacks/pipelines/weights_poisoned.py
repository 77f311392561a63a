"""Leaves weights whose pickle makes a folder when it is loaded."""

# ruff: noqa: F821
import os

import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: crash"}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("a-checkpoint-ran",)


class Model(Model):
    def on_fit_end(self):
        torch.save({"state": Evil()}, os.path.join(self.trainer.default_root_dir, "weights.pt"))
