"""Leaves weights of a tebibyte that take no space, until somebody copies them."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: disk full"}


class Model(Model):
    def on_fit_end(self):
        os.truncate(os.path.join(self.trainer.default_root_dir, "weights.pt"), 1 << 40)
