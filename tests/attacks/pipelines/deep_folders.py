"""Leaves folders nested deeper than a recursive removal can follow."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


class Model(Model):
    def on_fit_end(self):
        here = os.getcwd()
        os.chdir(self.trainer.default_root_dir)
        for _ in range(0 if os.path.exists("d") else 1200):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(here)
