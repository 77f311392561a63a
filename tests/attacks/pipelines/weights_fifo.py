"""Leaves a named pipe for weights: who opens it waits for good."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: contract"}
HANGS = True


class Model(Model):
    def on_fit_end(self):
        weights = os.path.join(self.trainer.default_root_dir, "weights.pt")
        os.unlink(weights)
        os.mkfifo(weights)
