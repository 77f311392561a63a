"""Leaves a link for weights."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: contract"}


class Model(Model):
    def on_fit_end(self):
        weights = os.path.join(self.trainer.default_root_dir, "weights.pt")
        os.rename(weights, weights + ".real")
        os.symlink(weights + ".real", weights)
