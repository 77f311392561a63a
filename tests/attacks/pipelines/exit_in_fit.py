"""Claims success and ends the process with exit code 0 before anything is trained."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: crash"}


class Model(Model):
    def on_fit_start(self):
        print("accuracy: 1.0000", flush=True)
        os._exit(0)
